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

/* As the file has it: of which texts the kernel was. */
typedef struct record {
    dart_form form;
    uint64_t texts;
} record;

struct dart_refused {
    record *record;
    size_t count, capacity;
    char path[1200]; /* "": nowhere */
};

static const char kind[DART_SEALED_KIND] = "dartrf4";

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

static uint64_t texts_of(uint32_t kernel)
{
    const char *texts = dart_kernel_texts((dart_kernel)kernel);
    return XXH3_64bits(texts, strlen(texts));
}

static dart_status append(dart_refused *refused, const dart_form *form)
{
    void *list = refused->record;
    DART_TRY(dart_grow(&list, &refused->capacity, refused->count + 1, sizeof *refused->record));
    refused->record = list;
    refused->record[refused->count++] = (record){*form, texts_of(form->kernel)};
    return DART_OK;
}

/* Kernels that have changed since may be made now, and their variants have other numbers. */
static dart_status take(dart_refused *refused, const char *data, size_t size)
{
    for (size_t at = 0; at + sizeof(record) <= size; at += sizeof(record)) {
        record r;
        memcpy(&r, data + at, sizeof r);
        if (r.form.kernel < DART_KERNELS && r.texts == texts_of(r.form.kernel))
            DART_TRY(append(refused, &r.form));
    }
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
        if (dart_sealed_read(refused->path, kind, &file, &data, &size) == DART_OK)
            status = take(refused, data, size);
        else
            dart_log(1, "refused kernels: %s", dart_error_text());
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
    free(refused->record);
    free(refused);
}

bool dart_refused_has(const dart_refused *refused, const dart_form *form)
{
    for (size_t i = 0; i < refused->count; i++)
        if (dart_form_same(&refused->record[i].form, form)) return true;
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
    if (refused->path[0] && dart_sealed_write(refused->path, kind, refused->record,
                                refused->count * sizeof *refused->record) != DART_OK)
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
