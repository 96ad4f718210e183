# The kernels of the CPU backend, compiled once in double precision (the oracle of the tests) and in single precision once
# per instruction set, of which the driver takes one when it opens.
include(CheckCSourceCompiles)
set(DART_CPU_ISAS "")
set(isa_rows "")

# Clang has no -fno-tree-pre, and warns of loops marked `omp simd` that it leaves as they are.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  set(DART_CPU_FLAGS -fno-tree-pre)
elseif(CMAKE_C_COMPILER_ID MATCHES "Clang")
  set(DART_CPU_FLAGS -Wno-pass-failed)
endif()

# dart_cpu_isa(name [FEATURES feature...] [FLAGS flag...]): what the compiler may use (-m<feature>) is what the processor
# is asked for. Left out where the compiler does not know a feature, as for other processors. From the least to the most.
macro(dart_cpu_isa name)
  cmake_parse_arguments(ISA "" "" "FEATURES;FLAGS" ${ARGN})
  list(TRANSFORM ISA_FEATURES PREPEND -m OUTPUT_VARIABLE flags)
  list(APPEND flags ${ISA_FLAGS})
  list(TRANSFORM ISA_FEATURES REPLACE "(.+)" "__builtin_cpu_supports(\"\\1\")" OUTPUT_VARIABLE questions)
  list(JOIN questions " && " condition)
  if(NOT questions)
    set(condition true)
  endif()
  list(JOIN flags " " CMAKE_REQUIRED_FLAGS)
  check_c_source_compiles("#include <stdbool.h>\nint main(void) { return ${condition}; }" DART_CPU_HAS_${name})
  unset(CMAKE_REQUIRED_FLAGS)
  if(DART_CPU_HAS_${name})
    dart_room(cpu_${name} backend/cpu/kernels MAY cpu DEFINES DART_ISA=${name})
    get_target_property(options cpu_${name} COMPILE_OPTIONS)
    list(REMOVE_ITEM options -march=native)
    # Loops marked `omp simd` become vector code; NaN and infinities keep their meaning.
    list(APPEND options -O3 -fopenmp-simd -fno-trapping-math ${DART_CPU_FLAGS} -ffp-contract=fast ${flags})
    set_target_properties(cpu_${name} PROPERTIES COMPILE_OPTIONS "${options}")
    list(APPEND DART_CPU_ISAS ${name})
    string(APPEND isa_rows "ISA(${name}, ${condition})\n")
  endif()
endmacro()

dart_cpu_isa(baseline)
if(NOT DART_FUZZ)
  dart_cpu_isa(v3 FEATURES avx2 fma)
  # Vectors of 512 bits where a loop fills them: 1.6 times as fast in functions and losses (NOTES.md), the same where memory is waited for.
  dart_cpu_isa(v4 FEATURES avx2 fma avx512f avx512bw avx512cd avx512dq avx512vl FLAGS -mprefer-vector-width=512)
endif()
if(DART_NATIVE)
  dart_cpu_isa(native FLAGS -march=native)
endif()
file(CONFIGURE OUTPUT ${GENERATED}/cpu_isas.inc CONTENT "${isa_rows}" @ONLY)

dart_room(cpu_f64 backend/cpu/kernels MAY cpu DEFINES DART_ISA=f64 DART_F64=1)
target_compile_options(cpu_f64 PRIVATE -O3 -fopenmp-simd $<$<C_COMPILER_ID:Clang>:-Wno-pass-failed>)
