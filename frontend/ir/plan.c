/* The plan: lowered launches with every arena value placed, barriers set, limits checked, figures
 * counted. */
#include "geometry.h"
#include "extent.h"
#include "plan_impl.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static double mib(uint64_t words, const dart_caps *caps)
{
    return (double)(words * caps->word) / 0x1p20;
}

static uint64_t smaller_limit(uint64_t a, uint64_t b)
{
    if (!a || !b) return a ? a : b;
    return a < b ? a : b;
}

/* Words to which offsets and sizes in the arena are rounded. */
static uint64_t arena_step(const dart_caps *caps)
{
    uint64_t step = 1;
    while (step * caps->word < caps->offset_align || step * caps->word % 16) step *= 2;
    return step;
}

static dart_status too_big(const dart_lowering *low, dart_node node, uint64_t words,
    const char *what, uint64_t limit_bytes)
{
    char name[160];
    return dart_fail(DART_MEMORY,
        "%s needs %.1f MiB in one %s and the device's limit is %.1f MiB; use a smaller batch, "
        "context or chunk of logits; where it is as large as a weight, a smaller width or "
        "vocabulary",
        dart_node_describe(low->graph, node, name), mib(words, low->caps), what,
        (double)limit_bytes / 0x1p20);
}

/* The first launch of the group of launch `at`, or the last one. */
static uint32_t group_end(const dart_lowering *low, uint32_t at, bool last)
{
    if (last)
        while (at + 1 < low->launches && low->group[at + 1] == low->group[at]) at++;
    else
        while (at && low->group[at - 1] == low->group[at]) at--;
    return at;
}

/* Arena storages as blocks, placed; their window and offset are written back. whole: what is alive
 * in a group is so all through it. */
static dart_status place(dart_lowering *low, bool whole, dart_layout_result *out)
{
    dart_status status = DART_OK;
    const dart_caps *caps = low->caps;
    const uint64_t step = arena_step(caps);
    uint64_t limit = smaller_limit(caps->max_binding, caps->max_alloc);
    uint32_t count = 0;
    dart_block *blocks = dart_calloc(low->storages, sizeof *blocks);
    if (!blocks) return DART_MEMORY;
    for (size_t s = DART_REGIONS; s < low->storages; s++) {
        dart_storage *storage = &low->storage[s];
        if (!storage->used) continue;
        if (storage->last_node == UINT32_MAX) storage->last = (uint32_t)low->launches - 1;
        dart_block *block = &blocks[count++];
        block->words = dart_round_up(storage->words, step);
        block->first = whole ? group_end(low, storage->first, false) : storage->first;
        block->last = whole ? group_end(low, storage->last, true) : storage->last;
        if (caps->max_alloc && block->words * caps->word > caps->max_alloc) {
            status = too_big(low, storage->label, storage->words, "buffer", caps->max_alloc);
            goto done;
        }
        /* what is longer than a binding is bound in parts (split.c) */
        if (limit && block->words * caps->word > limit) limit = block->words * caps->word;
    }
    DART_GOTO(dart_layout_blocks(
        blocks, count, (uint32_t)low->launches, limit / caps->word / step * step, out));
    count = 0;
    for (size_t s = DART_REGIONS; s < low->storages; s++) {
        if (!low->storage[s].used) continue;
        low->storage[s].window = blocks[count].window;
        low->storage[s].offset = blocks[count++].offset;
    }
done:
    free(blocks);
    return status;
}

static dart_slice slice_of(const dart_lowering *low, dart_value value)
{
    const dart_storage *storage = &low->storage[value.storage];
    if (storage->region != DART_REGION_NONE)
        return (dart_slice){storage->region, value.offset, value.words};
    return (dart_slice){
        DART_REGIONS + storage->window, storage->offset + value.offset, value.words};
}

static dart_status bind(dart_lowering *low, dart_plan *plan)
{
    const dart_caps *caps = low->caps;
    char name[160];
    for (uint32_t i = 0; i < plan->count; i++) {
        dart_launch *launch = &plan->list[i];
        const uint32_t bufs = launch->buffers;
        double bytes = 0;
        uint64_t reached[DART_MAX_BUFS];
        dart_launch_extent(launch, reached);
        for (uint32_t b = 0; b < bufs; b++) {
            dart_slice slice = slice_of(low, low->bound[i][b]);
            launch->buf[b] = slice;
            if (caps->max_binding && slice.words * caps->word > caps->max_binding)
                return too_big(low, launch->label, slice.words, "binding", caps->max_binding);
            if (slice.buffer < DART_REGIONS &&
                slice.words > dart_memory_run(low->memory, (dart_region)slice.buffer, slice.offset))
                return dart_fail(DART_MEMORY,
                    "%s reads or writes words that lie in two buffers, as one is at most %.1f MiB "
                    "long, and cannot be cut there; keep the matrices in fewer bits, or use a "
                    "smaller model",
                    dart_node_describe(low->graph, launch->label, name),
                    (double)caps->max_alloc / 0x1p20);
            if (caps->offset_align && slice.offset * caps->word % caps->offset_align)
                return dart_fail(DART_DEVICE,
                    "%s: a tensor starts at word %" PRIu64
                    " and the device wants multiples of %u bytes; align the leaf's offset",
                    dart_node_describe(low->graph, launch->label, name), slice.offset,
                    caps->offset_align);
            if (slice.words > plan->stats.largest_binding_words)
                plan->stats.largest_binding_words = slice.words;
            if (reached[b]) bytes += (double)(slice.words * caps->word);
        }
        plan->stats.bytes += bytes;
        DART_TRY(dart_launch_geometry(caps, launch));
        const double seconds = dart_launch_flops(launch) * low->cost.flop + bytes * low->cost.byte;
        if (seconds > plan->stats.longest_seconds) plan->stats.longest_seconds = seconds;
        plan->stats.launches_by_kernel[launch->kernel]++;
        if (launch->kernel != DART_K_gemm && launch->kernel != DART_K_gemm_packed)
            plan->stats.flops += (double)launch->buf[bufs - 1].words;
    }
    return DART_OK;
}

static dart_status count_memory(const dart_lowering *low, dart_plan *plan)
{
    dart_plan_stats *stats = &plan->stats;
    const dart_caps *caps = low->caps;
    uint64_t seen = 0; /* by the host: written, or read back, while a step before is at work */
    for (int region = 1; region < DART_REGIONS; region++) {
        stats->region_words += low->storage[region].words;
        if (dart_memory_kind((dart_region)region) == DART_MEM_HOST)
            seen += low->storage[region].words;
    }
    uint64_t total = stats->region_words + stats->planned_words + caps->spare * seen;
    if (!caps->memory || total * caps->word <= caps->memory) return DART_OK;
    return dart_fail(DART_MEMORY,
        "the step needs %.1f MiB (%.1f MiB of activations, most of them at %s; %.1f MiB of "
        "parameters "
        "and state) and the device has %.1f MiB; use "
        "--gradient-checkpointing, or a smaller batch, context or model",
        mib(total, caps), mib(stats->planned_words, caps), stats->bound_at,
        mib(stats->region_words, caps), (double)caps->memory / 0x1p20);
}

/* What each launch is for, kept after the graph is gone. */
static dart_status describe(const dart_lowering *low, dart_plan *plan)
{
    plan->what = DART_NEW(&plan->arena, const char *, plan->count);
    if (!plan->what && plan->count) return DART_MEMORY;
    for (uint32_t i = 0; i < plan->count; i++) {
        const dart_node node = plan->list[i].label;
        const char *scope = dart_node_scope(low->graph, node);
        plan->what[i] = dart_arena_printf(&plan->arena, "%s %%%u%s%s",
            dart_op_info_of(dart_node_get(low->graph, node)->op)->name, node, scope[0] ? " @" : "",
            scope);
        if (!plan->what[i]) return DART_MEMORY;
    }
    return DART_OK;
}

static dart_status find_kept(
    const dart_lowering *low, uint32_t keeps, const dart_node *keep, dart_plan *plan)
{
    plan->kept = DART_NEW(&plan->arena, dart_kept, keeps);
    if (!plan->kept && keeps) return DART_MEMORY;
    plan->keeps = keeps;
    for (uint32_t i = 0; i < keeps; i++)
        plan->kept[i] = (dart_kept){keep[i], slice_of(low, low->value[keep[i]])};
    return DART_OK;
}

dart_status dart_plan_new(const dart_graph *graph, const dart_caps *caps, const dart_memory *memory,
    uint32_t keeps, const dart_node *keep, dart_plan **out_plan)
{
    dart_status status = DART_OK;
    dart_lowering low = {0};
    dart_layout_result layout;
    dart_plan *plan = dart_calloc(1, sizeof *plan);
    *out_plan = NULL;
    if (!plan) return DART_MEMORY;
    for (uint32_t i = 0; i < keeps; i++)
        if (!keep[i] || keep[i] > dart_graph_count(graph)) {
            status = dart_fail(DART_FAILED, "plan: node %%%u to keep does not exist", keep[i]);
            goto done;
        }
    DART_GOTO(dart_lower(graph, caps, memory, keeps, keep, &low));
    DART_GOTO(dart_split(&low));
    DART_GOTO(dart_batch(&low));
    if (!dart_runs_in_turn(caps)) {
        DART_GOTO(dart_schedule(&low));
        DART_GOTO(place(&low, true, &layout));
    } else {
        DART_GOTO(place(&low, false, &layout));
    }
    plan->list = low.launch;
    plan->count = (uint32_t)low.launches;
    low.launch = NULL;
    dart_plan_stats *stats = &plan->stats;
    stats->launches = plan->count;
    stats->nodes = low.count;
    stats->views = low.views;
    stats->planned_words = layout.peak;
    stats->bound_words = layout.bound;
    stats->windows = plan->windows = layout.windows;
    stats->flops = low.flops;
    memcpy(plan->window_words, layout.window_words, sizeof plan->window_words);
    DART_GOTO(describe(&low, plan));
    if (plan->count)
        snprintf(stats->bound_at, sizeof stats->bound_at, "%s", plan->what[layout.bound_at]);
    DART_GOTO(bind(&low, plan));
    dart_place_barriers(plan->list, plan->count, &stats->barriers);
    DART_GOTO(count_memory(&low, plan));
    DART_GOTO(find_kept(&low, keeps, keep, plan));
    *out_plan = plan;
    plan = NULL;
done:
    dart_lowering_free(&low);
    dart_plan_free(plan);
    return status;
}

void dart_plan_free(dart_plan *plan)
{
    if (!plan) return;
    dart_arena_free(&plan->arena);
    free(plan->list);
    free(plan);
}

const dart_plan_stats *dart_plan_stats_of(const dart_plan *plan)
{
    return &plan->stats;
}

const dart_launch *dart_plan_launches(const dart_plan *plan, uint32_t *out_count)
{
    *out_count = plan->count;
    return plan->list;
}

/* Parameters are words; sizes are small as integers, so a large one is a float (but dropout's
 * threshold). */
static void print_params(const dart_launch *launch, const dart_kernel_info *info, FILE *out)
{
    for (uint32_t i = 0; i < info->param_bytes / 4u; i++) {
        float real;
        memcpy(&real, &launch->param[i], sizeof real);
        bool whole = launch->param[i] < 0x30000000u || launch->kernel == DART_K_dropout;
        if (whole)
            fprintf(out, " %" PRIu32, launch->param[i]);
        else
            fprintf(out, " %.9g", (double)real);
    }
}

/* Work-groups and tile sizes depend on the device and are left out: the text is the same for
 * devices with the same limits on bindings and offsets. */
void dart_plan_print(const dart_plan *plan, FILE *out)
{
    const dart_plan_stats *stats = &plan->stats;
    fprintf(out,
        "launches %u barriers %u windows %u\npeak %" PRIu64 " words, bound %" PRIu64
        " words (%.3f) at %s\n",
        stats->launches, stats->barriers, stats->windows, stats->planned_words, stats->bound_words,
        stats->bound_words ? (double)stats->planned_words / (double)stats->bound_words : 1.0,
        stats->bound_at);
    for (uint32_t i = 0; i < plan->count; i++) {
        const dart_launch *launch = &plan->list[i];
        const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
        fprintf(out, "%4u%s %s (", i, launch->wait ? " wait" : "     ", info->name);
        for (uint32_t b = 0; b < launch->buffers; b++) {
            const dart_slice *slice = &launch->buf[b];
            if (b) fputs(", ", out);
            if (slice->buffer < DART_REGIONS)
                fputs(dart_region_name((dart_region)slice->buffer), out);
            else
                fprintf(out, "w%u", slice->buffer - DART_REGIONS);
            fprintf(out, "[%" PRIu64 "+%" PRIu64 "]", slice->offset, slice->words);
        }
        fputs(")", out);
        print_params(launch, info, out);
        for (uint32_t t = 2; t < launch->tunes; t++) {
            const bool half = info->tune_name[t][1] == 'H'; /* of a buffer; 0 where it is f32 */
            if ((info->modes >> t & 1) && (launch->tune[t] || !half))
                fprintf(out, " %s=%u", info->tune_name[t], launch->tune[t]);
        }
        fprintf(out, " ; %s\n", plan->what[i]);
    }
}
