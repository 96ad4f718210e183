# Writes the include lists that kernels.h and kernels.c read, from the files in shaders/*.k, so that a new kernel is
# one new file.
function(dart_kernel_lists out)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/shaders/*.k)
  set(list "")
  set(include "")
  set(tunes "")
  set(shared "")
  set(table "")
  set(variants "")
  foreach(file ${files})
    get_filename_component(name ${file} NAME_WE)
    get_filename_component(ext ${file} EXT)
    if(NOT ext STREQUAL ".k") # a variant <kernel>.<feature>.k has its kernel's constants and parameters
      string(REGEX REPLACE "^\\.(.*)\\.k$" "\\1" feature ${ext})
      string(MAKE_C_IDENTIFIER "${name}_${feature}_shared" function)
      string(APPEND shared
        "static uint32_t ${function}(const uint32_t *tune)\n{\n#include \"${name}${ext}\"\n}\n")
      string(APPEND variants "{DART_K_${name}, \"${feature}\", ${function}},\n")
      continue()
    endif()
    string(APPEND list "K(${name})\n")
    string(APPEND include "#include \"${name}.k\"\n")
    string(APPEND tunes "static const tune_row ${name}_tunes[] = {\n#include \"${name}.k\"\n    {0, 0}};\n")
    string(APPEND shared
      "static uint32_t ${name}_shared(const uint32_t *tune)\n{\n#include \"${name}.k\"\n}\n")
    string(APPEND table "[DART_K_${name}] = {\n#include \"${name}.k\"\n    .param_bytes = sizeof(${name}_params), "
      ".shared_bytes = ${name}_shared},\n")
  endforeach()
  foreach(which list include tunes shared table variants)
    file(CONFIGURE OUTPUT ${out}/kernels_${which}.inc CONTENT "${${which}}" @ONLY)
  endforeach()
endfunction()
