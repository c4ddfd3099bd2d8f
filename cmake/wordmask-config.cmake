# find_package(wordmask CONFIG): one file for both places it is found in.
#   wordmask::headers   include/wordmask.h (installed tree and npm package)
#   wordmask::wordmask  the static core with all CPU kernels (installed tree only)
cmake_policy(VERSION 3.24)
include(CMakeFindDependencyMacro)
find_dependency(Threads)

find_path(wordmask_INCLUDE_DIR wordmask.h NO_DEFAULT_PATH
  HINTS ${CMAKE_CURRENT_LIST_DIR}/../include ${CMAKE_CURRENT_LIST_DIR}/../../../include
        ${CMAKE_CURRENT_LIST_DIR}/../../../../include)
if(NOT wordmask_INCLUDE_DIR)
  set(wordmask_FOUND FALSE)
  set(wordmask_NOT_FOUND_MESSAGE "wordmask.h is not beside ${CMAKE_CURRENT_LIST_DIR}")
  return()
endif()
if(NOT TARGET wordmask::headers)
  add_library(wordmask::headers INTERFACE IMPORTED)
  target_include_directories(wordmask::headers INTERFACE ${wordmask_INCLUDE_DIR})
endif()

include(${CMAKE_CURRENT_LIST_DIR}/wordmask-targets.cmake OPTIONAL)
if(TARGET wordmask::core AND NOT TARGET wordmask::wordmask)
  # Kernels register themselves from static initialisers, which the linker drops unless it takes the whole archive.
  add_library(wordmask::wordmask INTERFACE IMPORTED)
  target_link_libraries(wordmask::wordmask INTERFACE
    wordmask::headers $<LINK_LIBRARY:WHOLE_ARCHIVE,wordmask::core> Threads::Threads ${CMAKE_DL_LIBS})
endif()
