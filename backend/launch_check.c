/* The rules of a launch. */
#include "launch_check.h"
#include "extent.h"
#include "shaper.h"
#include <inttypes.h>
#include <stdio.h>

/* One failed rule of a launch; the sentence names the launch and the kernel. */
#define LAUNCH_FAIL(...)                                                                           \
    do {                                                                                           \
        char what_[256];                                                                           \
        snprintf(what_, sizeof what_, __VA_ARGS__);                                                \
        return dart_fail(DART_FAILED, "launch %" PRIu32 " (%s): %s", index, info->name, what_);    \
    } while (0)

static dart_status check_groups(
    const dart_caps *caps, const dart_kernel_info *info, const dart_launch *launch, uint32_t index)
{
    for (int d = 0; d < 3; d++) {
        uint32_t groups = launch->groups[d], most = caps->max_groups[d];
        if (!groups) LAUNCH_FAIL("groups[%d] is 0", d);
        if (most && groups > most)
            LAUNCH_FAIL("groups[%d] is %" PRIu32 ", the device allows %" PRIu32, d, groups, most);
    }
    uint64_t invocations = (uint64_t)launch->tune[0] * launch->tune[1];
    if (!invocations) LAUNCH_FAIL("a work-group of 0 invocations");
    if (caps->max_invocations && invocations > caps->max_invocations)
        LAUNCH_FAIL("%" PRIu64 " invocations in a work-group, the device allows %" PRIu32,
            invocations, caps->max_invocations);
    uint32_t shared = dart_kernel_shared(launch->kernel, launch->variant, launch->tune);
    if (caps->max_shared && shared > caps->max_shared)
        LAUNCH_FAIL("%" PRIu32 " bytes of work-group memory, the device allows %" PRIu32, shared,
            caps->max_shared);
    return DART_OK;
}

static dart_status check_slice(const dart_device *device, const dart_kernel_info *info,
    const dart_launch *launch, uint32_t b, uint32_t index)
{
    const dart_caps *caps = &device->caps;
    const dart_slice *slice = &launch->buf[b];
    const char *name = info->buffer_name[b];
    dart_buffer buffer = slice->buffer;
    if (!buffer || buffer >= device->info_capacity || !device->infos[buffer].alive)
        LAUNCH_FAIL("%s: buffer %" PRIu32 " is not allocated", name, buffer);
    if (!slice->words) LAUNCH_FAIL("%s: the slice has 0 words", name);
    uint64_t end, bytes, offset;
    if (!dart_add_u64(slice->offset, slice->words, &end) || end > device->infos[buffer].words)
        LAUNCH_FAIL("%s: words %" PRIu64 " + %" PRIu64 " reach past the end of buffer %" PRIu32
                    " at %" PRIu64,
            name, slice->offset, slice->words, buffer, device->infos[buffer].words);
    bool fits = dart_mul_u64(slice->words, caps->word, &bytes) &&
                dart_mul_u64(slice->offset, caps->word, &offset);
    if (!fits) LAUNCH_FAIL("%s: the slice's size overflows", name);
    if (caps->max_binding && bytes > caps->max_binding)
        LAUNCH_FAIL("%s: spans %" PRIu64 " bytes, the device binds at most %" PRIu64, name, bytes,
            caps->max_binding);
    if (caps->offset_align && offset % caps->offset_align)
        LAUNCH_FAIL("%s: its offset of %" PRIu64 " bytes is not a multiple of %" PRIu32, name,
            offset, caps->offset_align);
    return DART_OK;
}

/* What the parameters make the kernel touch lies within its slices. */
static dart_status check_extents(
    const dart_kernel_info *info, const dart_launch *launch, uint32_t index)
{
    uint64_t words[DART_MAX_BUFS];
    dart_launch_extent(launch, words);
    for (uint32_t b = 0; b < launch->buffers; b++)
        if (words[b] > launch->buf[b].words)
            LAUNCH_FAIL("%s: its parameters reach %" PRIu64 " words, the slice has %" PRIu64,
                info->buffer_name[b], words[b], launch->buf[b].words);
    return DART_OK;
}

/* An output may be an input's very slice (in place), never a part of it. */
static dart_status check_overlap(
    const dart_kernel_info *info, const dart_launch *launch, uint32_t index)
{
    for (uint32_t i = 0; i < launch->buffers; i++)
        for (uint32_t j = 0; j < i; j++) {
            const dart_slice *a = &launch->buf[i], *b = &launch->buf[j];
            bool written = (info->access[i] | info->access[j]) & DART_OUT;
            bool same = a->offset == b->offset && a->words == b->words;
            bool apart = a->buffer != b->buffer || a->offset + a->words <= b->offset ||
                         b->offset + b->words <= a->offset;
            if (written && !same && !apart)
                LAUNCH_FAIL("%s and %s overlap in part (buffer %" PRIu32 ", words %" PRIu64
                            " + %" PRIu64 " and %" PRIu64 " + %" PRIu64 ")",
                    info->buffer_name[j], info->buffer_name[i], a->buffer, b->offset, b->words,
                    a->offset, a->words);
        }
    return DART_OK;
}

dart_status dart_launch_check(const dart_device *device, const dart_launch *launch, uint32_t index)
{
    if ((unsigned)launch->kernel >= DART_KERNELS)
        return dart_fail(DART_FAILED, "launch %" PRIu32 ": kernel number %d does not exist", index,
            (int)launch->kernel);
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    const dart_caps *caps = &device->caps;
    if (launch->buffers != info->buffers)
        LAUNCH_FAIL("%d buffers given, it takes %d", launch->buffers, info->buffers);
    if (caps->max_buffers && launch->buffers > caps->max_buffers)
        LAUNCH_FAIL(
            "%d buffers, the device binds at most %" PRIu32, launch->buffers, caps->max_buffers);
    if (launch->param_bytes != info->param_bytes)
        LAUNCH_FAIL(
            "%d bytes of parameters given, it takes %d", launch->param_bytes, info->param_bytes);
    if (caps->max_params && (uint32_t)launch->param_bytes + DART_PLACE_BYTES > caps->max_params)
        LAUNCH_FAIL("%d bytes of parameters, the device takes at most %" PRIu32,
            launch->param_bytes, caps->max_params);
    if (launch->tunes != info->tunes)
        LAUNCH_FAIL("%d tune values given, it takes %d", launch->tunes, info->tunes);
    if (!dart_kernel_feature(launch->kernel, launch->variant))
        LAUNCH_FAIL("it has no variant %d", launch->variant);
    DART_TRY(check_groups(caps, info, launch, index));
    if (launch->kernel == DART_K_gemm && !dart_gemm_fours_hold(launch))
        LAUNCH_FAIL("it reads four words at a time where they do not lie in fours");
    for (uint32_t b = 0; b < launch->buffers; b++)
        DART_TRY(check_slice(device, info, launch, b, index));
    DART_TRY(check_extents(info, launch, index));
    return check_overlap(info, launch, index);
}
