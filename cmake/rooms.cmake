# Who may include whom (design: "Allowed includes"). backend/base is added to every room.
dart_room(base backend/base LINK PkgConfig::ZLIB)
dart_room(backend backend INCLUDES shaders)
include(${CMAKE_SOURCE_DIR}/cmake/cpu.cmake)
dart_room(null backend/null INCLUDES backend shaders)
dart_room(suite backend/suite INCLUDES backend shaders)
include(${CMAKE_SOURCE_DIR}/cmake/vulkan.cmake OPTIONAL)
include(${CMAKE_SOURCE_DIR}/cmake/opencl.cmake OPTIONAL)
dart_room(ir frontend/ir INCLUDES backend shaders)
dart_room(methods frontend/methods INCLUDES frontend/ir backend shaders LINK PkgConfig::BLAS)
dart_room(reg frontend/reg INCLUDES frontend/methods frontend/ir backend shaders)
dart_room(select frontend/select INCLUDES frontend/methods frontend/ir backend shaders)
dart_room(optim frontend/optim INCLUDES frontend/ir backend shaders)
dart_room(nn frontend/nn INCLUDES frontend/methods frontend/ir backend shaders)
dart_room(io frontend/io LINK PkgConfig::JANSSON PkgConfig::XXHASH)
dart_room(data frontend/data LINK PkgConfig::ZLIB PkgConfig::UTF8PROC PkgConfig::XXHASH)
dart_room(train frontend/train INCLUDES frontend frontend/nn frontend/methods frontend/reg frontend/select
  frontend/optim frontend/data frontend/io frontend/ir backend backend/suite shaders
  LINK PkgConfig::JANSSON PkgConfig::YAML PkgConfig::XXHASH PkgConfig::ZLIB PkgConfig::PCRE2 PkgConfig::UTF8PROC)
