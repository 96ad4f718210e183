# What `cmake --install` writes: headers, both libraries, pkg-config file and CMake package, the program, its manual page
# and completions, and the data folder. No path in it depends on where it is installed, so the tree may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_DOCDIR ${CMAKE_INSTALL_DATADIR}/doc/dart-llm)
set(data ${CMAKE_INSTALL_DATADIR}/dart-llm) # the library looks for share/dart-llm above its own folder

install(TARGETS dart EXPORT dart_llm_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS dart_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS dart-llm RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES frontend/dart.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY frontend/dart DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)

# The libraries that a program needs beside libdart.a, as names for the linker: neither the pkg-config file nor the
# package asks for the development files of those libraries as long as nobody links statically.
set(DART_STATIC_NEEDS openblas lapacke jansson yaml xxhash z utf8proc pcre2-8)
foreach(pair Vulkan::Vulkan=vulkan OpenCL::OpenCL=OpenCL)
  string(REGEX MATCH "^(.*)=(.*)$" pair ${pair})
  if(${CMAKE_MATCH_1} IN_LIST DART_EXTRA_LIBS)
    list(APPEND DART_STATIC_NEEDS ${CMAKE_MATCH_2})
  endif()
endforeach()
list(APPEND DART_STATIC_NEEDS m dl pthread)
list(TRANSFORM DART_STATIC_NEEDS PREPEND -l OUTPUT_VARIABLE flags)
list(JOIN flags " " DART_STATIC_FLAGS)
set(DART_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
set(DART_LIBDIR ${CMAKE_INSTALL_LIBDIR})
foreach(what PREFIX FULL_INCLUDEDIR)
  file(RELATIVE_PATH to ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_${what}})
  string(REGEX REPLACE "/$" "" DART_TO_${what} "${to}")
endforeach()
configure_file(cmake/dart-llm.pc.in ${GENERATED}/install/dart-llm.pc @ONLY)
install(FILES ${GENERATED}/install/dart-llm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/dart_llm)
configure_package_config_file(cmake/dart_llm-config.cmake.in ${GENERATED}/install/dart_llm-config.cmake
  INSTALL_DESTINATION ${package} PATH_VARS DART_INCLUDEDIR DART_LIBDIR NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${GENERATED}/install/dart_llm-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${GENERATED}/install/dart_llm-config.cmake ${GENERATED}/install/dart_llm-config-version.cmake
  DESTINATION ${package})
install(EXPORT dart_llm_targets NAMESPACE dart:: DESTINATION ${package})

# Manual page and completions: the program prints them.
set(printed dart-llm.1 dart-llm.bash _dart-llm)
set(words_dart-llm.1 help --man)
set(words_dart-llm.bash completion bash)
set(words__dart-llm completion zsh)
list(TRANSFORM printed PREPEND ${GENERATED}/install/ OUTPUT_VARIABLE paths)
foreach(file ${printed})
  add_custom_command(OUTPUT ${GENERATED}/install/${file}
    COMMAND dart-llm ${words_${file}} > ${GENERATED}/install/${file} DEPENDS dart-llm VERBATIM)
endforeach()
add_custom_target(printed ALL DEPENDS ${paths})
install(FILES ${GENERATED}/install/dart-llm.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${GENERATED}/install/dart-llm.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
  RENAME dart-llm)
# Debian's zsh looks for what packages bring (in /usr) in a folder of its own.
install(CODE "set(zsh site-functions)
  if(CMAKE_INSTALL_PREFIX MATCHES \"/usr$\" AND EXISTS /etc/debian_version)
    set(zsh vendor-completions)
  endif()
  file(INSTALL ${GENERATED}/install/_dart-llm
    DESTINATION \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/zsh/\${zsh})")

install(DIRECTORY shaders DESTINATION ${data} FILES_MATCHING PATTERN *.k PATTERN *.def PATTERN *.h)
install(DIRECTORY experiments DESTINATION ${data} FILES_MATCHING PATTERN *.yaml)
install(PROGRAMS datasets/fetch DESTINATION ${data}/datasets)
install(DIRECTORY datasets/ DESTINATION ${data}/datasets FILES_MATCHING PATTERN *.recipe)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
