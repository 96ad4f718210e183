/* The list of refused kernels, and what takes their place. */
#include "refused.h"
#include "file.h"
#include "geometry.h"
#include "log.h"
#include "sealed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct dart_refused {
    dart_form *form;
    size_t count, capacity;
    char path[1200]; /* "": nowhere */
};

static const char kind[DART_SEALED_KIND] = "dartrf2";

/* <cache>/refused-<hash of device, driver, version of this program>.bin */
static void find_path(const dart_device *device, char out[1200])
{
    char dir[1024], key[512];
    out[0] = 0;
    if (dart_cache_dir(dir, sizeof dir) != DART_OK) return;
    int n = snprintf(key, sizeof key, "%s|%s|%s|%s|%s", device->backend->name, device->caps.name,
        device->caps.driver, device->caps.api, DART_VERSION);
    snprintf(
        out, 1200, "%s/refused-%016llx.bin", dir, (unsigned long long)XXH3_64bits(key, (size_t)n));
}

static dart_status append(dart_refused *refused, const dart_form *form)
{
    void *forms = refused->form;
    DART_TRY(dart_grow(&forms, &refused->capacity, refused->count + 1, sizeof *refused->form));
    refused->form = forms;
    refused->form[refused->count++] = *form;
    return DART_OK;
}

dart_status dart_refused_open(const dart_device *device, dart_refused **out)
{
    char *file = NULL;
    const void *data;
    size_t size;
    dart_status status = DART_OK;
    dart_refused *refused = dart_calloc(1, sizeof *refused);
    if (!refused) return DART_MEMORY;
    find_path(device, refused->path);
    if (refused->path[0] && dart_file_exists(refused->path)) {
        if (dart_sealed_read(refused->path, kind, &file, &data, &size) == DART_OK) {
            for (size_t at = 0; at + sizeof(dart_form) <= size && status == DART_OK;
                 at += sizeof(dart_form)) {
                dart_form form;
                memcpy(&form, (const char *)data + at, sizeof form);
                status = append(refused, &form);
            }
        } else {
            dart_log(1, "refused kernels: %s", dart_error_text());
        }
    }
    free(file);
    if (status == DART_OK)
        *out = refused;
    else
        dart_refused_close(refused);
    return status;
}

void dart_refused_close(dart_refused *refused)
{
    if (!refused) return;
    free(refused->form);
    free(refused);
}

bool dart_refused_has(const dart_refused *refused, const dart_form *form)
{
    for (size_t i = 0; i < refused->count; i++)
        if (dart_form_same(&refused->form[i], form)) return true;
    return false;
}

static bool has(const dart_refused *refused, const dart_launch *launch)
{
    const dart_form form = dart_form_of(launch);
    return dart_refused_has(refused, &form);
}

dart_status dart_refused_add(dart_refused *refused, const dart_launch *launch)
{
    const dart_form form = dart_form_of(launch);
    DART_TRY(append(refused, &form));
    if (refused->path[0] && dart_sealed_write(refused->path, kind, refused->form,
                                refused->count * sizeof *refused->form) != DART_OK)
        dart_log(1, "refused kernels are not kept: %s", dart_error_text());
    return DART_OK;
}

dart_status dart_refused_replace(
    const dart_refused *refused, const dart_caps *caps, dart_launch *launch)
{
    for (uint32_t simpler = 1; has(refused, launch); simpler++) {
        if (simpler > DART_SIMPLEST)
            return dart_fail(DART_DEVICE,
                "the driver of %s makes no form of kernel %s: update it (what it could not make "
                "is kept in %s)",
                caps->name, dart_kernel_info_of(launch->kernel)->name,
                refused->path[0] ? refused->path : "memory");
        DART_TRY(dart_launch_simpler(caps, simpler, launch));
    }
    return DART_OK;
}
