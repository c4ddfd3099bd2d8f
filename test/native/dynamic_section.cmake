# What the CUDA module may need and show: it must load where there is no driver and no toolkit, and must not meddle with
# other modules' symbols. cmake -DREADELF=... -DMODULE=... -P dynamic_section.cmake
execute_process(COMMAND ${READELF} -dW ${MODULE} OUTPUT_VARIABLE section COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "\\(NEEDED\\)[^\n]*" needed "${section}")
foreach(line IN LISTS needed)
  if(line MATCHES "libcuda|libcudart|libcublas|libnv|libstdc\\+\\+|libgcc")
    message(FATAL_ERROR "the module needs a library that may be absent: ${line}")
  endif()
endforeach()
if(NOT needed OR NOT section MATCHES "SYMBOLIC")
  message(FATAL_ERROR "no NEEDED entry or not linked with -Bsymbolic:\n${section}")
endif()

execute_process(COMMAND ${READELF} --dyn-syms -W ${MODULE} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "(GLOBAL|WEAK|UNIQUE) +(DEFAULT|PROTECTED) +[0-9]+ [^\n]*" shown "${symbols}")
if(NOT shown MATCHES "^(GLOBAL) +DEFAULT +[0-9]+ wm_backend_entry *$")
  message(FATAL_ERROR "the module must show wm_backend_entry alone, it shows: ${shown}")
endif()
message(STATUS "needs: ${needed}; shows: ${shown}")
