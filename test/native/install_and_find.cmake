# Installs the static core into a scratch folder, builds the consumer against it, runs it; then finds the headers through
# the npm package's own config file. cmake -DBUILD=<tree> -DSOURCE=<consumer> -P install_and_find.cmake
set(work ${BUILD}/consumer)
file(REMOVE_RECURSE ${work})
foreach(command
    "${CMAKE_COMMAND};--build;${BUILD};--target;wordmask_static"
    "${CMAKE_COMMAND};--install;${BUILD};--prefix;${work}/installed;--component;core"
    "${CMAKE_COMMAND};-S;${SOURCE};-B;${work}/build;-DCMAKE_PREFIX_PATH=${work}/installed"
    "${CMAKE_COMMAND};--build;${work}/build"
    "${work}/build/consumer"
    "${CMAKE_COMMAND};-S;${SOURCE};-B;${work}/headers;-DHEADERS_ONLY=ON;-Dwordmask_DIR=${SOURCE}/../../../cmake"
    "${CMAKE_COMMAND};--build;${work}/headers")
  execute_process(COMMAND ${command} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
