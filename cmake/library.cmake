# The library, static and shared, and the program on top of it.
set(objects "")
foreach(room ${DART_ROOMS})
  list(APPEND objects $<TARGET_OBJECTS:${room}>)
endforeach()
set(needs PkgConfig::BLAS PkgConfig::JANSSON PkgConfig::YAML PkgConfig::XXHASH PkgConfig::ZLIB PkgConfig::UTF8PROC
  PkgConfig::PCRE2 Threads::Threads m lapacke ${DART_EXTRA_LIBS} ${CMAKE_DL_LIBS})
add_library(dart_static STATIC ${objects})
target_link_libraries(dart_static PUBLIC ${needs})

# What is not declared with DART_API is hidden; each symbol carries the version of the binary interface.
add_library(dart SHARED ${objects})
target_link_libraries(dart PRIVATE ${needs})
set_target_properties(dart PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
include(CheckLinkerFlag)
set(script ${CMAKE_SOURCE_DIR}/cmake/symbols.map)
check_linker_flag(C -Wl,--version-script=${script} DART_HAVE_VERSION_SCRIPT)
if(DART_HAVE_VERSION_SCRIPT)
  target_link_options(dart PRIVATE -Wl,--version-script=${script} -Wl,-z,defs)
  set_property(TARGET dart PROPERTY LINK_DEPENDS ${script})
endif()
foreach(library dart dart_static)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME dart)
  target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/frontend>)
endforeach()

# The program sees the public headers alone. It holds the library, so that it runs wherever it lies; dart-llm-shared is
# the same program on the shared library, for the test that it needs no symbol which that does not export.
file(GLOB tool_sources CONFIGURE_DEPENDS tools/*.c)
add_library(tool OBJECT ${tool_sources})
target_include_directories(tool PRIVATE frontend tools)
target_link_libraries(tool PRIVATE PkgConfig::JANSSON)
target_compile_definitions(tool PRIVATE DART_BUILD_TYPE="${CMAKE_BUILD_TYPE}")
add_executable(dart-llm $<TARGET_OBJECTS:tool>)
target_link_libraries(dart-llm PRIVATE dart_static PkgConfig::JANSSON m)
add_executable(dart-llm-shared $<TARGET_OBJECTS:tool>)
target_link_libraries(dart-llm-shared PRIVATE dart PkgConfig::JANSSON m)
