# The kernel suite once a device and limit profile; tests/backends/test_suite without arguments is the bare cpu.
target_include_directories(test_suite PRIVATE ${CMAKE_SOURCE_DIR}/backend/suite)
target_include_directories(test_vulkan PRIVATE ${CMAKE_SOURCE_DIR}/backend/suite)
foreach(device cpu opencl:0 vulkan:0)
  foreach(limits "" emu-floor emu-pi4)
    if(device STREQUAL "cpu" AND limits STREQUAL "")
      continue()
    endif()
    string(REPLACE ":" "" name "${device}")
    string(JOIN "-" name "suite" "${name}" ${limits})
    add_test(NAME backends/${name} COMMAND test_suite ${device} ${limits} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
endforeach()
# Once more with the validation layers (core and synchronization) watching, where they are installed.
if(EXISTS /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json)
  add_test(NAME backends/suite-vulkan0-validated COMMAND test_suite vulkan:0 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(backends/suite-vulkan0-validated PROPERTIES ENVIRONMENT DART_VULKAN_VALIDATION=1
    FAIL_REGULAR_EXPRESSION "vulkan validation:")
endif()
