/* The validation layers (core and synchronization), switched on by DART_VULKAN_VALIDATION=1 when
 * the first device is opened. For tests. */
#ifndef DART_VULKAN_VALIDATION_H
#define DART_VULKAN_VALIDATION_H

#include <stdbool.h>
#include <stdint.h>

/* Warnings and errors that the layers have reported since the program started. */
uint64_t dart_vulkan_validation_messages(void);
/* The layers are loaded: asked for, installed, and a device is open. */
bool dart_vulkan_validation_active(void);

#endif
