/* The GPUs whose compilers a machine without them may have. */
#include "extent.h"
#include "names.h"
#include "cuts.h"
#include "parts.h"
#include <stdio.h>
#include <string.h>

#define RADEON(family_, product_, units_, schedulers_, ghz_, gbs_, gib_, unified_)                 \
    {                                                                                              \
        .name = "amd:" family_, .product = product_, .driver = "radeon", .family = family_,        \
        .units = units_, .schedulers = schedulers_, .lanes = 64, .ghz = ghz_, .gbs = gbs_,         \
        .gib = gib_, .unified = unified_                                                           \
    }
#define INTEL(name_, family_, product_, units_, ghz_, gbs_, gib_, unified_, group_, threads_,      \
    sharers_, shared_)                                                                             \
    {                                                                                              \
        .name = "intel:" name_, .product = product_, .family = family_, .units = units_,           \
        .schedulers = 1, .lanes = 8, .ghz = ghz_, .gbs = gbs_, .gib = gib_, .unified = unified_,   \
        .group = group_, .threads = threads_, .sharers = sharers_, .shared_kib = shared_           \
    }

/* Through Vulkan; the system's side of them is a shim (tests/arm64). */
#define ANV(family_, driver_, product_, units_, ghz_, gbs_)                                        \
    {                                                                                              \
        .name = "anv:" family_, .product = product_, .driver = driver_, .family = family_,         \
        .units = units_, .lanes = 8, .ghz = ghz_, .gbs = gbs_, .gib = 2, .unified = true           \
    }

/* Schedulers of an AMD unit: four of GCN, two of RDNA. GPUs in processors have 2 GiB of the host's
 * memory here. */
static const dart_gpu gpus[] = {
    RADEON("tahiti", "Radeon HD 7970", 32, 4, 0.925, 264, 3, false),
    RADEON("hawaii", "Radeon R9 290", 40, 4, 0.947, 320, 4, false),
    RADEON("polaris10", "Radeon RX 580", 36, 4, 1.34, 256, 8, false),
    RADEON("vega10", "Radeon RX Vega 64", 64, 4, 1.546, 484, 8, false),
    RADEON("raven", "Ryzen 5 2400G", 11, 4, 1.25, 47, 2, true),
    RADEON("renoir", "Ryzen 7 4700G", 8, 4, 2.1, 51, 2, true),
    RADEON("navi10", "Radeon RX 5700 XT", 40, 2, 1.905, 448, 8, false),
    RADEON("navi14", "Radeon RX 5500 XT", 22, 2, 1.845, 224, 4, false),
    RADEON("navi21", "Radeon RX 6900 XT", 80, 2, 2.25, 512, 16, false),
    RADEON("navi23", "Radeon RX 6600 XT", 32, 2, 2.589, 256, 8, false),
    RADEON("vangogh", "Steam Deck", 8, 2, 1.6, 88, 4, true),
    {.name = "amd:gfx1100",
        .product = "Radeon RX 7900 XTX",
        .driver = "radeon",
        .family = "gfx1100",
        .later = "navi31",
        .units = 96,
        .schedulers = 2,
        .lanes = 64,
        .ghz = 2.5,
        .gbs = 960,
        .gib = 24},
    INTEL("skl", "skl", "HD Graphics 530", 24, 1.15, 34, 2, true, 256, 7, 8, 64),
    INTEL("icllp", "icllp", "Iris Plus Graphics G7", 64, 1.1, 60, 2, true, 256, 7, 8, 64),
    INTEL("tgllp", "tgllp", "Iris Xe Graphics G7", 96, 1.35, 68, 2, true, 512, 7, 16, 128),
    INTEL("dg2", "acm-g10", "Arc A770", 512, 2.1, 560, 16, false, 1024, 8, 16, 128),
    ANV("bdw", "intel_hasvk", "HD Graphics 5500", 24, 0.95, 25.6),
    ANV("skl", "intel", "HD Graphics 530", 24, 1.15, 34),
    ANV("icl", "intel", "Iris Plus Graphics G7", 64, 1.1, 60),
    ANV("tgl", "intel", "Iris Xe Graphics G7", 96, 1.35, 68),
    {.name = "pi4",
        .product = "Raspberry Pi 4",
        .driver = "broadcom",
        .schedulers = 8,
        .lanes = 32,
        .ghz = 0.5,
        .gbs = 12.8,
        .gib = 2,
        .unified = true},
    {.name = "adreno630",
        .product = "Snapdragon 845",
        .driver = "freedreno",
        .schedulers = 1,
        .lanes = 512,
        .ghz = 0.71,
        .gbs = 29.8,
        .gib = 4,
        .unified = true},
};
_Static_assert(sizeof gpus / sizeof *gpus <= DART_MOST_GPUS, "a list has room for all");

const dart_gpu *dart_gpu_at(uint32_t index)
{
    return index < sizeof gpus / sizeof *gpus ? &gpus[index] : NULL;
}

static const char *name_at(const void *context, uint32_t index)
{
    (void)context;
    return dart_gpu_at(index) ? gpus[index].name : NULL;
}

/* Whether `name` is the word, or of its family: "amd:navi21" is of "amd". */
static bool is_of(const char *name, const char *word)
{
    const size_t n = strlen(word);
    return !strcmp(word, "all") || (!strncmp(name, word, n) && (!name[n] || name[n] == ':'));
}

dart_status dart_gpu_list(
    const char *list, const dart_gpu *out[DART_MOST_GPUS], uint32_t *out_count)
{
    bool wanted[DART_MOST_GPUS] = {false};
    for (const char *at = list; *at;) {
        char word[64];
        const size_t n = strcspn(at, ",");
        bool any = false;
        snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), at);
        for (uint32_t i = 0; n && dart_gpu_at(i); i++)
            if (is_of(gpus[i].name, word)) wanted[i] = any = true;
        if (!any) return dart_name_unknown(DART_USAGE, "GPU", word, name_at, NULL, ", or all");
        at += n + (at[n] == ',');
    }
    *out_count = 0;
    for (uint32_t i = 0; dart_gpu_at(i); i++)
        if (wanted[i]) out[(*out_count)++] = &gpus[i];
    return *out_count ? DART_OK : dart_fail(DART_USAGE, "the list of GPUs is empty");
}

dart_status dart_gpu_caps(const dart_gpu *gpu, dart_caps *out)
{
    DART_TRY(gpu->driver ? dart_vulkan_gpu_caps(gpu, out) : dart_ocloc_caps(gpu, out));
    /* what only compiles has none, and ocloc is not asked; of others the driver's word counts */
    if (!gpu->driver || !strcmp(gpu->driver, "radeon")) out->threads = gpu->units;
    out->memory = (uint64_t)gpu->gib << 30;
    out->unified = gpu->unified;
    snprintf(out->name, sizeof out->name, "%s", gpu->product);
    dart_caps_submit(out);
    return DART_OK;
}

dart_status dart_gpu_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out)
{
    return gpu->driver ? dart_vulkan_gpu_make(gpu, list, count, out)
                       : dart_ocloc_make(gpu, list, count, out);
}

double dart_gpu_seconds(const dart_gpu *gpu, const dart_launch *launch, const dart_figures *figures)
{
    const double hz = 1e9 * gpu->ghz, units = gpu->units ? gpu->units : 1;
    double bytes = 0, seconds = 0, each;
    for (uint32_t b = 0; b < launch->buffers; b++) bytes += 4.0 * (double)launch->buf[b].words;
    if (gpu->schedulers && figures->cycles > 0 && figures->width > 0) {
        const double lanes = (double)launch->tune[0] * launch->tune[1];
        const double waves = (double)launch->groups[0] * launch->groups[1] *
                             (double)(uint64_t)((lanes + figures->width - 1) / figures->width);
        seconds = waves * figures->cycles / (units * gpu->schedulers * hz);
    }
    each = dart_launch_flops(launch) / (2 * units * gpu->lanes * hz);
    if (each > seconds) seconds = each;
    each = bytes / (1e9 * gpu->gbs);
    return each > seconds ? each : seconds;
}
