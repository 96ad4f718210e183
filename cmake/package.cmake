# `cpack -G DEB` in the build folder: one package with program, libraries and headers. What it depends on is read from
# the binaries by dpkg-shlibdeps.
set(CPACK_PACKAGE_NAME dart-llm)
set(CPACK_PACKAGE_VENDOR "DART-LLM")
set(CPACK_PACKAGE_CONTACT "The DART-LLM authors <dart-llm@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "trains transformers whose weights are tensor trains")
set(CPACK_PACKAGE_DESCRIPTION "Trains and fine-tunes transformers whose weights are tensor trains and lets training find
their ranks, on any GPU that speaks Vulkan or OpenCL and on plain processors.
The package holds the program dart-llm, the library with its headers, kernels
and recipes.")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_GENERATOR DEB)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "curl | wget | python3")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "mesa-vulkan-drivers, pocl-opencl-icd, libclblast1")
if(NOT DART_NATIVE) # a package is for any processor
  include(CPack)
endif()
