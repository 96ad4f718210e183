# The reduced run of drivers.py; README.md says how to make the full one. The shim is built with the tests.
if(NOT PYTHON3 OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR DART_SANITIZE)
  message(STATUS "tests/faults/drivers: left out (needs Linux and python3; a sanitizer wants to be loaded first)")
  return()
endif()
add_library(dart_fault_drivers MODULE ${CMAKE_CURRENT_LIST_DIR}/drivers.c)
set_target_properties(dart_fault_drivers PROPERTIES PREFIX "")
target_link_libraries(dart_fault_drivers PRIVATE ${CMAKE_DL_LIBS})
add_test(NAME faults/drivers COMMAND ${PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/drivers.py $<TARGET_FILE:dart-llm>
  $<TARGET_FILE:dart_fault_drivers> --seconds 45)
set_tests_properties(faults/drivers PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)

add_library(dart_fault_refuse MODULE ${CMAKE_CURRENT_LIST_DIR}/refuse.c)
set_target_properties(dart_fault_refuse PROPERTIES PREFIX "")
target_link_libraries(dart_fault_refuse PRIVATE ${CMAKE_DL_LIBS})
add_test(NAME faults/refuse COMMAND ${PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/refuse.py $<TARGET_FILE:dart-llm>
  $<TARGET_FILE:dart_fault_refuse>)
set_tests_properties(faults/refuse PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
