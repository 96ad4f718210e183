/* The Vulkan instance, shared by all open devices, and the validation layers. */
#include "internal.h"
#include "log.h"
#include "validation.h"
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

static VkInstance instance;
static uint32_t users;
static VkDebugUtilsMessengerEXT messenger;
static uint64_t messages;

uint64_t dart_vulkan_validation_messages(void)
{
    return messages;
}

bool dart_vulkan_validation_active(void)
{
    return messenger != VK_NULL_HANDLE;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
    VkDebugUtilsMessageTypeFlagsEXT types, const VkDebugUtilsMessengerCallbackDataEXT *data,
    void *user)
{
    (void)severity, (void)types, (void)user;
    messages++;
    dart_log(0, "vulkan validation: %s", data->pMessage);
    return VK_FALSE;
}

static const char layer_name[] = "VK_LAYER_KHRONOS_validation";

static bool layer_has(const char *extension)
{
    uint32_t count = 0;
    bool found = false;
    if (vkEnumerateInstanceExtensionProperties(layer_name, &count, NULL) != VK_SUCCESS)
        return false;
    VkExtensionProperties *list = dart_calloc(count, sizeof *list);
    if (list && vkEnumerateInstanceExtensionProperties(layer_name, &count, list) == VK_SUCCESS)
        for (uint32_t i = 0; i < count; i++) found |= strcmp(list[i].extensionName, extension) == 0;
    free(list);
    return found;
}

static bool layer_wanted(void)
{
    const char *value = getenv("DART_VULKAN_VALIDATION");
    if (!value || strcmp(value, "1") != 0) return false;
    bool usable = layer_has(VK_EXT_DEBUG_UTILS_EXTENSION_NAME) &&
                  layer_has(VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
    if (!usable)
        dart_log(1, "vulkan: DART_VULKAN_VALIDATION=1, but %s is not installed", layer_name);
    return usable;
}

static void make_messenger(const VkDebugUtilsMessengerCreateInfoEXT *info)
{
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
            instance, "vkCreateDebugUtilsMessengerEXT");
    if (!create || create(instance, info, NULL, &messenger) != VK_SUCCESS)
        messenger = VK_NULL_HANDLE;
}

static dart_status make_instance(void)
{
    uint32_t version = VK_API_VERSION_1_0;
    vkEnumerateInstanceVersion(&version);
    if (version < VK_API_VERSION_1_1)
        return dart_fail(DART_DEVICE,
            "vulkan: the loader (libvulkan) is of version 1.0, 1.1 or newer is needed; update it");

    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "dart-llm",
        .apiVersion = VK_API_VERSION_1_1};
    VkDebugUtilsMessengerCreateInfoEXT debug = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message};
    VkValidationFeatureEnableEXT enable[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &debug,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = enable};
    const char *layers[] = {layer_name};
    const char *extensions[] = {
        VK_EXT_DEBUG_UTILS_EXTENSION_NAME, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    bool validate = layer_wanted();
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validate ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validate ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = validate ? 2 : 0,
        .ppEnabledExtensionNames = extensions};
    VkResult result = vkCreateInstance(&info, NULL, &instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return dart_fail(DART_DEVICE,
            "vulkan: no driver is installed (vkCreateInstance: %s); install the vendor's driver or "
            "Debian's mesa-vulkan-drivers",
            dart_vulkan_result_name(result));
    const bool memory =
        result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY;
    if (result != VK_SUCCESS)
        return dart_fail(memory ? DART_MEMORY : DART_DEVICE, "vulkan: vkCreateInstance failed: %s",
            dart_vulkan_result_name(result));
    if (validate) make_messenger(&debug);
    return DART_OK;
}

void dart_vulkan_instance_forget(void)
{
    users = 0;
}

dart_status dart_vulkan_instance_acquire(VkInstance *out_instance)
{
    if (users == 0) {
        instance = VK_NULL_HANDLE;
        DART_TRY(make_instance());
    }
    users++;
    *out_instance = instance;
    return DART_OK;
}

/* Keeps every library that is loaded now loaded to the end. The loader would unload drivers with
 * the instance, which not all of them survive (threads and thread-locals of their own), and leak
 * reports could no longer name them. */
static void pin_libraries(void)
{
    void *self = dlopen(NULL, RTLD_LAZY);
    struct link_map *map = NULL;
    if (!self) return;
    if (dlinfo(self, RTLD_DI_LINKMAP, &map) != 0) map = NULL;
    for (; map; map = map->l_next) {
        if (!map->l_name[0]) continue;
        void *library = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        if (library) dlclose(library);
    }
    dlclose(self);
}

void dart_vulkan_instance_release(void)
{
    if (--users > 0) return;
    pin_libraries();
    PFN_vkDestroyDebugUtilsMessengerEXT destroy =
        (PFN_vkDestroyDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
            instance, "vkDestroyDebugUtilsMessengerEXT");
    if (messenger && destroy) destroy(instance, messenger, NULL);
    messenger = VK_NULL_HANDLE;
    vkDestroyInstance(instance, NULL);
    instance = VK_NULL_HANDLE;
}

bool dart_vulkan_has_extension(VkPhysicalDevice physical, const char *name)
{
    uint32_t count = 0;
    bool found = false;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL) != VK_SUCCESS)
        return false;
    VkExtensionProperties *list = dart_calloc(count, sizeof *list);
    if (list && vkEnumerateDeviceExtensionProperties(physical, NULL, &count, list) == VK_SUCCESS)
        for (uint32_t i = 0; i < count; i++) found |= strcmp(list[i].extensionName, name) == 0;
    free(list);
    return found;
}
