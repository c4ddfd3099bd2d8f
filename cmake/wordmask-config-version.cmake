# Version of the npm package for find_package; an installed tree has a generated file of this name instead.
file(READ ${CMAKE_CURRENT_LIST_DIR}/../package.json wordmask_package)
string(JSON PACKAGE_VERSION GET "${wordmask_package}" version)
if(NOT PACKAGE_FIND_VERSION OR PACKAGE_FIND_VERSION VERSION_LESS_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
