# The OpenCL backend: built where the ICD loader and its headers are found, left out otherwise. The kernels travel as
# text inside the program; the driver compiles them.
find_package(OpenCL QUIET)
if(NOT OpenCL_FOUND)
  message(STATUS "OpenCL backend: left out (needs ocl-icd-opencl-dev and opencl-headers)")
  return()
endif()

file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/shaders/*.k)
file(GLOB definitions CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/shaders/*.def)
set(out ${GENERATED}/opencl_sources.c)
add_custom_command(OUTPUT ${out}
  COMMAND ${CMAKE_COMMAND} -DSHADERS=${CMAKE_SOURCE_DIR}/shaders -DOUT=${out}
    -P ${CMAKE_SOURCE_DIR}/cmake/opencl_embed.cmake
  DEPENDS ${kernels} ${definitions} ${CMAKE_SOURCE_DIR}/shaders/prelude/cl.h
    ${CMAKE_SOURCE_DIR}/cmake/opencl_embed.cmake
  COMMENT "OpenCL sources" VERBATIM)

dart_room(opencl backend/opencl MAY backend LINK OpenCL::OpenCL PkgConfig::XXHASH
  DEFINES CL_TARGET_OPENCL_VERSION=120)
target_sources(opencl PRIVATE ${out})
add_compile_definitions(DART_HAVE_OPENCL=1)
list(APPEND DART_EXTRA_LIBS OpenCL::OpenCL)
