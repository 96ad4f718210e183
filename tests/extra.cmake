# The kernel suite once a device and limit profile; tests/backend/test_suite without arguments is the bare cpu.
target_include_directories(test_suite PRIVATE ${CMAKE_SOURCE_DIR}/backend/suite)
target_include_directories(test_vulkan PRIVATE ${CMAKE_SOURCE_DIR}/backend/suite)
foreach(device cpu opencl:0 vulkan:0)
  foreach(limits "" emu-floor emu-pi4)
    if(device STREQUAL "cpu" AND limits STREQUAL "")
      continue()
    endif()
    string(REPLACE ":" "" name "${device}")
    string(JOIN "-" name "suite" "${name}" ${limits})
    add_test(NAME backend/${name} COMMAND test_suite ${device} ${limits} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
endforeach()
# Candidates of the tuner; without arguments on lavapipe.
add_test(NAME backend/candidates-opencl0 COMMAND test_candidates opencl:0 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
add_test(NAME backend/candidates-vulkan0-emu-floor COMMAND test_candidates vulkan:0 emu-floor
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
# Forms of gemm that no shipped table chooses on these devices; without arguments on lavapipe under emu-floor.
add_test(NAME backend/gemm-forms-opencl0 COMMAND test_gemm_forms opencl:0 emu-intel WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
# Libraries that look like CLBlast, of a version that is known, too old, too new (test_clblast).
if(OpenCL_FOUND)
  foreach(fake good:1.9.2 old:1.3.0 next:2.0.0)
    string(REGEX REPLACE ":.*" "" name ${fake})
    string(REGEX REPLACE ".*:" "" version ${fake})
    add_library(fake_clblast_${name} MODULE ${CMAKE_CURRENT_SOURCE_DIR}/backend/fake_clblast.c)
    target_link_libraries(fake_clblast_${name} PRIVATE ${CMAKE_DL_LIBS})
    target_include_directories(fake_clblast_${name} PRIVATE ${OpenCL_INCLUDE_DIRS})
    target_compile_definitions(fake_clblast_${name} PRIVATE CL_TARGET_OPENCL_VERSION=120)
    set_target_properties(fake_clblast_${name} PROPERTIES PREFIX "" OUTPUT_NAME libclblast SUFFIX .so.${version}
      NO_SONAME ON LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fake/${name})
    add_dependencies(test_clblast fake_clblast_${name})
  endforeach()
  target_compile_definitions(fake_clblast_old PRIVATE WITHOUT_BATCHES)
endif()
# Once more with submissions that may take 10 microseconds, so that most launches are started in pieces.
foreach(device opencl:0 vulkan:0)
  string(REPLACE ":" "" name "suite-${device}-pieces")
  add_test(NAME backend/${name} COMMAND test_suite ${device} emu-pi4 1e-2 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
# And once for each set of kernels that the cpu device may take; those that the processor lacks are skipped.
foreach(isa ${DART_CPU_ISAS})
  add_test(NAME backend/suite-cpu-${isa} COMMAND test_suite cpu WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(backend/suite-cpu-${isa} PROPERTIES ENVIRONMENT DART_CPU_ISA=${isa})
endforeach()
# Once more with the validation layers (core and synchronization) watching, where they are installed.
if(EXISTS /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json)
  foreach(limits "" emu-floor)
    string(JOIN "-" name suite-vulkan0-validated ${limits})
    add_test(NAME backend/${name} COMMAND test_suite vulkan:0 ${limits} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(backend/${name} PROPERTIES ENVIRONMENT DART_VULKAN_VALIDATION=1
      FAIL_REGULAR_EXPRESSION "vulkan validation:")
  endforeach()
  add_test(NAME backend/gemm-forms-vulkan0-validated COMMAND test_gemm_forms WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(backend/gemm-forms-vulkan0-validated PROPERTIES ENVIRONMENT DART_VULKAN_VALIDATION=1
    FAIL_REGULAR_EXPRESSION "vulkan validation:")
endif()
# What compilers of GPUs that are not here make of kernels; Intel's needs half a second for each.
add_test(NAME tasks/kernels/intel COMMAND test_kernels intel:skl intel:tgllp intel:dg2
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(tasks/kernels/intel PROPERTIES TIMEOUT 600)
# Mesa's Vulkan drivers for Intel, with a stand-in for the system's side of the GPUs; without libdrm's headers it is skipped.
find_path(DART_LIBDRM xf86drm.h)
find_path(DART_LIBDRM_UAPI i915_drm.h PATH_SUFFIXES libdrm)
add_test(NAME tasks/kernels/anv COMMAND test_kernels anv WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
if(DART_LIBDRM AND DART_LIBDRM_UAPI AND NOT DART_SANITIZE)
  add_library(gpu_shim SHARED ${CMAKE_CURRENT_SOURCE_DIR}/arm64/shim.c)
  target_include_directories(gpu_shim PRIVATE ${DART_LIBDRM} ${DART_LIBDRM_UAPI})
  target_link_libraries(gpu_shim PRIVATE ${CMAKE_DL_LIBS})
  set_tests_properties(tasks/kernels/anv PROPERTIES ENVIRONMENT LD_PRELOAD=$<TARGET_FILE:gpu_shim>)
endif()
# Every op through planner and lowering, outputs and gradients, on each device and profile; whether gradients are right is
# a matter of the f64 device alone (test_op_gradients).
foreach(device opencl:0 vulkan:0)
  foreach(limits "" emu-floor emu-pi4)
    string(REPLACE ":" "" name "${device}")
    string(JOIN "-" name "ops" "${name}" ${limits})
    add_test(NAME ir/${name} COMMAND test_ops ${device} ${limits} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
endforeach()
# Both on Mesa's OpenCL driver for processors, alone in its loader, as it is not the first: skipped where it is missing.
add_test(NAME backend/suite-rusticl COMMAND test_suite opencl:0 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
add_test(NAME ir/ops-rusticl COMMAND test_ops opencl:0 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(backend/suite-rusticl ir/ops-rusticl PROPERTIES
  ENVIRONMENT "RUSTICL_ENABLE=llvmpipe;OCL_ICD_VENDORS=/etc/OpenCL/vendors/rusticl.icd")
find_program(CLANG_FORMAT NAMES clang-format-14 clang-format)
if(CLANG_FORMAT AND EXISTS ${CMAKE_SOURCE_DIR}/.git)
  add_test(NAME tools/format COMMAND sh -c
    "git ls-files '*.c' '*.h' | grep -v '^shaders/' | xargs '${CLANG_FORMAT}' --dry-run -Werror"
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endif()
# Symbols of the libraries, and headers on their own.
find_program(PYTHON3 python3)
find_program(DART_CXX NAMES c++ g++ clang++)
if(PYTHON3 AND NOT DART_SANITIZE) # sanitizers add names of their own
  add_test(NAME dart/symbols COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/dart/symbols.py ${CMAKE_NM}
    ${CMAKE_SOURCE_DIR}/frontend $<TARGET_FILE:dart>)
endif()
# No two files call each other.
if(PYTHON3)
  add_test(NAME docs/circles COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/tools/circles.py ${CMAKE_BINARY_DIR})
  add_test(NAME docs/circles-check
    COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/tools/circles.py --check ${CMAKE_C_COMPILER})
endif()
add_test(NAME dart/headers COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/dart/headers.sh ${CMAKE_C_COMPILER}
  "$<$<BOOL:${DART_CXX}>:${DART_CXX}>" ${CMAKE_SOURCE_DIR}/frontend)
# The program on the shared library: it needs no symbol that this does not export.
add_test(NAME tools/shared COMMAND dart-llm-shared version)
# An installation as others use it.
add_test(NAME tools/install COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/tools/install.sh ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}
  ${CMAKE_C_COMPILER} "$<$<BOOL:${DART_CXX}>:${DART_CXX}>" ${CMAKE_BUILD_TYPE})
set_tests_properties(tools/install PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
# Failing calls of drivers.
include(${CMAKE_CURRENT_SOURCE_DIR}/faults/drivers.cmake)
# Completion as the shells use it.
add_test(NAME tools/completion COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/tools/completion.sh $<TARGET_FILE:dart-llm>)
# The folder for machines with a GPU: packed, and run from where it lies, on cpu.
add_test(NAME tools/gpu COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/tools/gpu.sh ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
set_tests_properties(tools/gpu PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
# Event files and CSV read by programs that are not ours.
add_test(NAME tools/exports COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/tools/exports.sh $<TARGET_FILE:dart-llm> ${CMAKE_BINARY_DIR})
set_tests_properties(tools/exports PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 400)
# The script that gets data sets, on files of our own.
add_test(NAME tools/fetch COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/tools/fetch.sh ${CMAKE_SOURCE_DIR})
# The experiments' tables at a reduced size, against the bands they are expected in.
if(PYTHON3)
  # The picture of the rooms is what the build enforces.
  add_test(NAME docs/architecture COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/docs/architecture.py --check)
  # The page on how ranks are found: its formulas against the logs of a run.
  add_test(NAME docs/how-ranks COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/tools/how_ranks.py $<TARGET_FILE:dart-llm> ${CMAKE_SOURCE_DIR})
  add_test(NAME experiments/tables COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/tools/tables.py $<TARGET_FILE:dart-llm> ${CMAKE_SOURCE_DIR})
  set_tests_properties(experiments/tables PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1200)
endif()
# Parsers of untrusted files, 20 or 60 s each; tests/fuzz/run.py makes longer runs.
if(PYTHON3 AND NOT DART_SANITIZE)
  add_test(NAME fuzz/targets COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/run.py ${CMAKE_SOURCE_DIR}
    ${CMAKE_BINARY_DIR}/fuzz --seconds 20 --fresh --jobs 2)
  set_tests_properties(fuzz/targets PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800)
endif()
# Failing allocations and system calls, kills.
include(${CMAKE_CURRENT_SOURCE_DIR}/faults/faults.cmake)
# What the scripts of tests/interop ask.
foreach(name dump_model dump_logits dump_scores)
  add_executable(${name} ${CMAKE_CURRENT_SOURCE_DIR}/interop/${name}.c)
  target_include_directories(${name} PRIVATE ${rooms} ${GENERATED})
  target_link_libraries(${name} PRIVATE dart_static)
endforeach()
