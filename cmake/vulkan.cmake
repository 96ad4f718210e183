# The Vulkan backend: built where the loader, its headers and glslangValidator are found, left out otherwise.
find_package(Vulkan QUIET)
find_program(DART_GLSLANG NAMES glslangValidator)
find_program(DART_SPIRV_VAL NAMES spirv-val)
if(NOT Vulkan_FOUND OR NOT DART_GLSLANG)
  message(STATUS "Vulkan backend: left out (needs libvulkan-dev and glslang-tools)")
  return()
endif()

# Whether glslangValidator knows an extension of GLSL: only newer ones than Debian 12's know those of matrix units.
function(dart_glslang_knows extension out_known)
  string(MAKE_C_IDENTIFIER "${DART_GLSLANG}_KNOWS_${extension}" key) # another program is asked anew
  if(NOT DEFINED ${key})
    file(WRITE ${CMAKE_BINARY_DIR}/extension.comp
      "#version 450\n#extension ${extension} : require\nlayout(local_size_x = 1) in;\nvoid main() {}\n")
    execute_process(COMMAND ${DART_GLSLANG} --quiet -V --target-env vulkan1.1 -S comp ${CMAKE_BINARY_DIR}/extension.comp
      -o ${CMAKE_BINARY_DIR}/extension.spv RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
    string(COMPARE EQUAL "${result}" 0 known)
    set(${key} ${known} CACHE INTERNAL "${DART_GLSLANG} knows this extension")
  endif()
  set(${out_known} ${${key}} PARENT_SCOPE)
endfunction()

# shaders/<kernel>.k and shaders/<kernel>.<feature>.k, each through a wrapper, to SPIR-V 1.3 in a C array.
set(out ${GENERATED}/vulkan)
file(MAKE_DIRECTORY ${out})
file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/shaders/*.k)
file(GLOB shared_text CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/shaders/*.def ${CMAKE_SOURCE_DIR}/shaders/prelude/*.h)
set(headers "")
set(includes "")
set(rows "")
foreach(file ${kernels})
  get_filename_component(stem ${file} NAME_WLE)
  file(READ ${file} text)
  if(text MATCHES "#ifdef IS_GLSL\n#error") # a variant that is not for Vulkan
    continue()
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  string(REGEX MATCH "^[^.]+" kernel ${stem})
  string(REGEX REPLACE "^[^.]+\\.?(.*)$" "\\1" feature ${stem})
  string(MAKE_C_IDENTIFIER "dart_spirv_${stem}" array)
  string(REGEX MATCHALL "EXTENSION\\([A-Za-z0-9_]+\\)" wanted "${text}")
  set(extensions "")
  set(unknown "")
  foreach(one ${wanted})
    string(REGEX REPLACE "EXTENSION\\((.*)\\)" "\\1" one ${one})
    string(APPEND extensions "#extension ${one} : require\n")
    dart_glslang_knows(${one} known)
    if(NOT known)
      set(unknown ${one})
    endif()
  endforeach()
  if(unknown)
    message(STATUS "Vulkan backend: without shaders/${stem}.k, as ${DART_GLSLANG} does not know ${unknown}")
    continue()
  endif()
  file(CONFIGURE OUTPUT ${out}/${stem}.comp @ONLY CONTENT
"#version 450
#extension GL_GOOGLE_include_directive : require
${extensions}#include \"prelude/glsl.h\"
#include \"${stem}.k\"
")
  set(check "")
  if(DART_SPIRV_VAL)
    set(check COMMAND ${DART_SPIRV_VAL} --target-env vulkan1.1 ${out}/${stem}.spv)
  endif()
  set(compile ${DART_GLSLANG} --quiet -V --target-env vulkan1.1 -S comp -I${CMAKE_SOURCE_DIR}/shaders ${out}/${stem}.comp)
  add_custom_command(OUTPUT ${out}/${stem}.h
    COMMAND ${compile} -o ${out}/${stem}.spv
    ${check}
    COMMAND ${compile} --vn ${array} -o ${out}/${stem}.h
    DEPENDS ${file} ${shared_text} ${out}/${stem}.comp
    COMMENT "SPIR-V ${stem}" VERBATIM)
  list(APPEND headers ${out}/${stem}.h)
  string(APPEND includes "#include \"vulkan/${stem}.h\"\n")
  string(APPEND rows "    {DART_K_${kernel}, \"${feature}\", ${array}, sizeof ${array}},\n")
endforeach()
file(CONFIGURE OUTPUT ${GENERATED}/vulkan_spirv.inc @ONLY CONTENT
"${includes}
typedef struct spirv_row {
    dart_kernel kernel;
    const char *feature; /* of a variant, \"\" for the portable form */
    const uint32_t *code;
    size_t bytes;
} spirv_row;

static const spirv_row spirv_table[] = {
${rows}};
")
add_custom_target(vulkan_spirv DEPENDS ${headers})

dart_room(vulkan backend/vulkan MAY backend LINK Vulkan::Vulkan PkgConfig::XXHASH)
add_dependencies(vulkan vulkan_spirv)
add_compile_definitions(DART_HAVE_VULKAN=1)
list(APPEND DART_EXTRA_LIBS Vulkan::Vulkan)
