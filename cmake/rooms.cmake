# Who may include whom. Arrows run down only, since a room can only name rooms above its own line; everyone may include
# backend/base. A room passes MAY on to whoever includes it, WITHIN not: models know the graph and not the devices.
# docs/architecture.md is drawn from this file.
dart_room(base backend/base LINK PkgConfig::ZLIB)
dart_room(shaders shaders)
dart_room(backend backend MAY shaders LINK PkgConfig::XXHASH DEFINES DART_VERSION="${PROJECT_VERSION}")
dart_room(cpu backend/cpu MAY backend LINK PkgConfig::BLAS)
include(${CMAKE_SOURCE_DIR}/cmake/cpu.cmake)
dart_room(null backend/null MAY backend)
dart_room(suite backend/suite MAY backend)
if(NOT DART_FUZZ) # drivers are not instrumented, and no target opens one
  include(${CMAKE_SOURCE_DIR}/cmake/vulkan.cmake OPTIONAL)
  include(${CMAKE_SOURCE_DIR}/cmake/opencl.cmake OPTIONAL)
endif()
dart_room(compilers backend/compilers MAY backend)

dart_room(public frontend)
dart_room(io frontend/io MAY shaders LINK PkgConfig::JANSSON PkgConfig::XXHASH)
# Numbers are decoded and encoded bit for bit as llama.cpp does it: no fused products and sums.
target_compile_options(io PRIVATE -ffp-contract=off)
dart_room(tokenizer frontend/tokenizer MAY io public LINK PkgConfig::PCRE2 PkgConfig::UTF8PROC PkgConfig::XXHASH)
dart_room(data frontend/data MAY tokenizer io LINK PkgConfig::ZLIB PkgConfig::UTF8PROC PkgConfig::XXHASH)
dart_room(ir frontend/ir MAY shaders WITHIN backend)

# model/: what is computed
dart_room(methods frontend/model/methods MAY ir LINK PkgConfig::BLAS)
dart_room(optim frontend/model/optim MAY ir)
dart_room(reg frontend/model/reg MAY methods)
dart_room(select frontend/model/select MAY methods)
dart_room(nn frontend/model/nn MAY methods)
dart_room(ranks frontend/model/ranks MAY nn reg select)

# core/: what every task needs
# Files of other programs under our names: it knows no model and no graph.
dart_room(pretrained frontend/core/pretrained MAY io LINK PkgConfig::PCRE2)
# The option rows of plug-ins stand with them; the recipe reads them all.
dart_room(recipe frontend/core/recipe MAY public methods optim reg select LINK PkgConfig::YAML)
dart_room(record frontend/core/record MAY recipe io)
dart_room(engine frontend/core/engine MAY nn reg optim data backend)
# A check rehearses selections on the model before anything is done: hence ranks.
dart_room(setup frontend/core/setup MAY engine recipe ranks io suite)
dart_room(store frontend/core/store MAY setup ranks pretrained io LINK PkgConfig::XXHASH)

# tasks/: what people do
dart_room(report frontend/tasks/report MAY record)
dart_room(score frontend/tasks/score MAY store record LINK PkgConfig::PCRE2 PkgConfig::UTF8PROC)
dart_room(inspect frontend/tasks/inspect MAY store)
dart_room(export frontend/tasks/export MAY store LINK PkgConfig::BLAS)
dart_room(compress frontend/tasks/compress MAY store)
dart_room(infer frontend/tasks/infer MAY score)
dart_room(kernels frontend/tasks/kernels MAY infer inspect compilers)
dart_room(train frontend/tasks/train MAY infer)
dart_room(sweep frontend/tasks/sweep MAY train report)
dart_room(bench frontend/tasks/bench MAY train report)
dart_room(tune frontend/tasks/tune MAY store)

# What dart.h declares and no room below defines.
dart_room(api frontend/tasks/api MAY bench tune sweep inspect kernels export compress tokenizer)
