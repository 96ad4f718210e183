# Writes one C file with the text of prelude/cl.h and of every kernel (lines #include "x.def" replaced by the file) as
# byte arrays. Used: cmake -DSHADERS=<folder> -DOUT=<file> -P opencl_embed.cmake
function(array name file out_code)
  file(READ ${file} text)
  file(GLOB definitions ${SHADERS}/*.def)
  foreach(definition ${definitions})
    get_filename_component(base ${definition} NAME)
    file(READ ${definition} body)
    string(REPLACE "#include \"${base}\"" "${body}" text "${text}")
  endforeach()
  file(WRITE ${OUT}.tmp "${text}")
  file(READ ${OUT}.tmp hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n"
    bytes "${bytes}")
  set(${out_code} "static const unsigned char ${name}[] = {\n${bytes}\n0};\n" PARENT_SCOPE)
endfunction()

array(prelude ${SHADERS}/prelude/cl.h code)
set(rows "")
file(GLOB kernels ${SHADERS}/*.k)
foreach(kernel ${kernels})
  get_filename_component(stem ${kernel} NAME_WLE)
  file(READ ${kernel} text)
  if(text MATCHES "EXTENSION\\(") # a text for Vulkan alone
    continue()
  endif()
  string(MAKE_C_IDENTIFIER "text_${stem}" name)
  array(${name} ${kernel} one)
  string(APPEND code "${one}")
  string(APPEND rows "    {\"${stem}\", (const char *)${name}},\n")
endforeach()
file(WRITE ${OUT} "/* Made by cmake/opencl_embed.cmake. */\n#include \"opencl_sources.h\"\n\n${code}
const char *const dart_opencl_prelude = (const char *)prelude;
const opencl_source dart_opencl_sources[] = {\n${rows}    {0, 0}};\n")
file(REMOVE ${OUT}.tmp)
