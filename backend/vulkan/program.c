/* A launch list recorded once into command buffers and replayed: descriptor sets written once,
 * parameters as push constants, a memory barrier where the planner asks for one. */
#include "clock.h"
#include "cuts.h"
#include "internal.h"
#include "log.h"
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

typedef struct set_key {
    uint64_t buffers; /* their number */
    dart_slice slice[DART_MAX_BUFS];
} set_key;

typedef struct set_entry {
    set_key key;
    VkDescriptorSet set;
    UT_hash_handle hh;
} set_entry;

struct dart_program {
    dart_launch *list;     /* owned copy: the timed form is recorded when first asked for */
    VkPipeline *pipelines; /* (count) */
    VkDescriptorSet *of;   /* (count) */
    uint32_t count;
    dart_pace pace; /* where the list is cut into submissions */
    VkDescriptorPool sets;
    VkCommandPool pool;
    /* (DART_IN_FLIGHT, submissions), each recorded when needed: what is at work is not given to the
     * device again. Timed: (submissions), NULL until needed. */
    VkCommandBuffer *plain, *timed;
    bool recorded[DART_IN_FLIGHT]; /* of plain */
    bool at_work[DART_IN_FLIGHT];  /* of plain */
    VkQueryPool queries;
    uint64_t *ticks; /* (pieces + submissions): one before each submission, one behind each piece */
};

/* ---- descriptor sets ---- */

static set_key key_of(const dart_launch *launch)
{
    set_key key;
    memset(&key, 0, sizeof key); /* padding too: the key is hashed as bytes */
    key.buffers = launch->buffers;
    for (uint32_t i = 0; i < launch->buffers; i++) {
        key.slice[i].buffer = launch->buf[i].buffer;
        key.slice[i].offset = launch->buf[i].offset;
        key.slice[i].words = launch->buf[i].words;
    }
    return key;
}

static dart_status write_set(
    vulkan_device *device, const set_key *key, VkDescriptorPool pool, VkDescriptorSet *out_set)
{
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &device->set_layout[key->buffers]};
    DART_TRY(dart_vulkan_status(device, vkAllocateDescriptorSets(device->handle, &info, out_set),
        "vkAllocateDescriptorSets"));
    VkDescriptorBufferInfo buffers[DART_MAX_BUFS];
    for (uint32_t i = 0; i < key->buffers; i++)
        buffers[i] =
            (VkDescriptorBufferInfo){.buffer = device->buffers[key->slice[i].buffer - 1].handle,
                .offset = key->slice[i].offset * 4,
                .range = key->slice[i].words * 4};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = *out_set,
        .descriptorCount = (uint32_t)key->buffers,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = buffers};
    /* One write fills the consecutive bindings 0, 1, ...: they are alike. */
    vkUpdateDescriptorSets(device->handle, 1, &write, 0, NULL);
    return DART_OK;
}

static dart_status make_sets(vulkan_device *device, dart_program *program)
{
    dart_status status = DART_OK;
    set_entry *table = NULL, *entry, *next;
    uint32_t sets = 0, buffers = 0;
    set_entry *entries = dart_calloc(program->count, sizeof *entries);
    set_entry **of = dart_calloc(program->count, sizeof(set_entry *));
    if (!entries || !of) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < program->count; i++) {
        set_key key = key_of(&program->list[i]);
        HASH_FIND(hh, table, &key, sizeof key, entry);
        if (!entry) {
            entry = &entries[sets++];
            memcpy(&entry->key, &key, sizeof key);
            buffers += program->list[i].buffers;
            HASH_ADD(hh, table, key, sizeof entry->key, entry);
            if (!entry->hh.tbl) {
                status = dart_fail(DART_MEMORY, "out of memory: descriptor sets");
                goto done;
            }
        }
        of[i] = entry;
    }
    VkDescriptorPoolSize size = {
        .type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = buffers};
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = sets,
        .poolSizeCount = 1,
        .pPoolSizes = &size};
    DART_GOTO(dart_vulkan_status(device,
        vkCreateDescriptorPool(device->handle, &info, NULL, &program->sets),
        "vkCreateDescriptorPool"));
    for (uint32_t i = 0; i < sets; i++)
        DART_GOTO(write_set(device, &entries[i].key, program->sets, &entries[i].set));
    for (uint32_t i = 0; i < program->count; i++) program->of[i] = of[i]->set;
done:
    HASH_ITER(hh, table, entry, next) HASH_DEL(table, entry);
    free(entries);
    free(of);
    return status;
}

/* ---- recording ---- */

static void barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags from_access,
    VkPipelineStageFlags to, VkAccessFlags to_access)
{
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = from_access,
        .dstAccessMask = to_access};
    vkCmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

/* One submission into a command buffer. Timed: every piece waits, with a stamp on both sides. */
static dart_status record(vulkan_device *device, const dart_program *program, uint32_t submission,
    VkCommandBuffer commands, bool timed)
{
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    const VkAccessFlags shader = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    const dart_cuts *cuts = &program->pace.cuts;
    const uint32_t first = cuts->begin[submission], end = cuts->begin[submission + 1];
    const uint32_t stamp = first + submission;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    DART_TRY(
        dart_vulkan_status(device, vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer"));

    /* Earlier submissions, copies and host writes come before all of this. */
    barrier(commands, compute | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT,
        VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT,
        compute | VK_PIPELINE_STAGE_TRANSFER_BIT,
        shader | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
    if (timed) {
        vkCmdResetQueryPool(commands, program->queries, stamp, end - first + 1);
        vkCmdWriteTimestamp(
            commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, program->queries, stamp);
    }
    VkPipeline pipeline = VK_NULL_HANDLE;
    VkDescriptorSet set = VK_NULL_HANDLE;
    for (uint32_t i = first; i < end; i++) {
        const dart_piece *piece = &cuts->piece[i];
        const dart_launch *launch = &program->list[piece->launch];
        VkPipelineLayout layout = device->layout[launch->buffers];
        const bool opens = piece->first[0] == 0 && piece->first[1] == 0;
        if (i > first && ((launch->wait && opens) || timed))
            barrier(commands, compute, VK_ACCESS_SHADER_WRITE_BIT, compute, shader);
        if (program->pipelines[piece->launch] != pipeline)
            vkCmdBindPipeline(
                commands, VK_PIPELINE_BIND_POINT_COMPUTE, program->pipelines[piece->launch]);
        if (program->of[piece->launch] != set)
            vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1,
                &program->of[piece->launch], 0, NULL);
        pipeline = program->pipelines[piece->launch];
        set = program->of[piece->launch];
        uint32_t param[DART_MAX_PARAM_BYTES / 4];
        const uint32_t bytes = dart_piece_params(launch, piece, param);
        vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, bytes, param);
        vkCmdDispatch(commands, piece->groups[0], piece->groups[1], 1);
        if (timed)
            vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, program->queries,
                stamp + i - first + 1);
    }
    barrier(commands, compute, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
        VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
    return dart_vulkan_status(device, vkEndCommandBuffer(commands), "vkEndCommandBuffer");
}

/* out: (submissions) */
static dart_status record_all(
    vulkan_device *device, dart_program *program, bool timed, VkCommandBuffer *out)
{
    const uint32_t submissions = program->pace.cuts.submissions;
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = device->family};
    if (!program->pool)
        DART_TRY(dart_vulkan_status(device,
            vkCreateCommandPool(device->handle, &pool, NULL, &program->pool),
            "vkCreateCommandPool"));
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = program->pool, /* which frees them */
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = submissions};
    DART_TRY(dart_vulkan_status(
        device, vkAllocateCommandBuffers(device->handle, &info, out), "vkAllocateCommandBuffers"));
    for (uint32_t i = 0; i < submissions; i++) DART_TRY(record(device, program, i, out[i], timed));
    return DART_OK;
}

static dart_status record_plain(vulkan_device *device, dart_program *program, uint32_t at)
{
    const uint32_t submissions = program->pace.cuts.submissions;
    if (program->recorded[at]) return DART_OK;
    if (!program->plain)
        program->plain = dart_calloc(DART_IN_FLIGHT * submissions, sizeof *program->plain);
    if (!program->plain) return DART_MEMORY;
    DART_TRY(record_all(device, program, false, program->plain + at * submissions));
    program->recorded[at] = true;
    return DART_OK;
}

/* The recordings of other cuts, none of which is at work, are given back. */
static void forget(vulkan_device *device, dart_program *program)
{
    vkDestroyQueryPool(device->handle, program->queries, NULL);
    vkDestroyCommandPool(device->handle, program->pool, NULL); /* frees its command buffers */
    program->queries = VK_NULL_HANDLE;
    program->pool = VK_NULL_HANDLE;
    free(program->ticks);
    free(program->plain);
    free(program->timed);
    program->ticks = NULL;
    program->plain = program->timed = NULL;
    memset(program->recorded, 0, sizeof program->recorded);
}

dart_status dart_vulkan_build(
    dart_device *base, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    vulkan_device *device = (vulkan_device *)base;
    dart_status status = DART_OK;
    dart_program *program = dart_calloc(1, sizeof *program);
    if (!program) return DART_MEMORY;
    program->count = count;
    program->list = dart_calloc(count, sizeof *list);
    program->pipelines = dart_calloc(count, sizeof(VkPipeline));
    program->of = dart_calloc(count, sizeof(VkDescriptorSet));
    if (!program->list || !program->pipelines || !program->of) {
        status = DART_MEMORY;
        goto done;
    }
    if (count == 0) goto done;
    memcpy(program->list, list, count * sizeof *list);
    DART_GOTO(dart_vulkan_pipelines_make(device, list, count, program->pipelines));
    dart_vulkan_cache_save(device);
    DART_GOTO(make_sets(device, program));
    DART_GOTO(dart_pace_begin(&program->pace, &base->caps, program->list, count));
    DART_GOTO(record_plain(device, program, 0));
done:
    if (status == DART_OK)
        *out_program = program;
    else
        dart_vulkan_drop(base, program);
    return status;
}

/* ---- running ---- */

static dart_status prepare_timing(vulkan_device *device, dart_program *program)
{
    if (device->tick_bits == 0)
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): the device has no timestamps, so launches cannot be timed one by one",
            device->base.index, device->base.caps.name);
    const dart_cuts *cuts = &program->pace.cuts;
    const uint32_t stamps = cuts->pieces + cuts->submissions;
    if (!program->queries) {
        VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
            .queryType = VK_QUERY_TYPE_TIMESTAMP,
            .queryCount = stamps};
        DART_TRY(dart_vulkan_status(device,
            vkCreateQueryPool(device->handle, &info, NULL, &program->queries),
            "vkCreateQueryPool"));
    }
    if (!program->ticks) program->ticks = dart_calloc(stamps, sizeof *program->ticks);
    if (!program->ticks) return DART_MEMORY;
    if (program->timed) return DART_OK;
    program->timed = dart_calloc(cuts->submissions, sizeof *program->timed);
    if (!program->timed) return DART_MEMORY;
    const dart_status status = record_all(device, program, true, program->timed);
    if (status != DART_OK) {
        free(program->timed);
        program->timed = NULL;
    }
    return status;
}

static dart_status read_times(vulkan_device *device, dart_program *program, double *seconds)
{
    const dart_cuts *cuts = &program->pace.cuts;
    const uint32_t stamps = cuts->pieces + cuts->submissions;
    const uint64_t mask =
        device->tick_bits >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << device->tick_bits) - 1;
    DART_TRY(dart_vulkan_status(device,
        vkGetQueryPoolResults(device->handle, program->queries, 0, stamps,
            stamps * sizeof *program->ticks, program->ticks, sizeof *program->ticks,
            VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
        "vkGetQueryPoolResults"));
    memset(seconds, 0, program->count * sizeof *seconds);
    for (uint32_t s = 0; s < cuts->submissions; s++)
        for (uint32_t i = cuts->begin[s]; i < cuts->begin[s + 1]; i++) {
            const uint64_t *tick = &program->ticks[i + s];
            seconds[cuts->piece[i].launch] += (double)((tick[1] - tick[0]) & mask) * device->tick_s;
        }
    return DART_OK;
}

/* One submission after the other; clock: NULL, or gets the seconds of each. */
static dart_status run_singly(vulkan_device *device, const dart_program *program,
    const VkCommandBuffer *commands, double *clock)
{
    for (uint32_t i = 0; i < program->pace.cuts.submissions; i++) {
        const double start = dart_seconds();
        DART_TRY(dart_vulkan_submit(device, &commands[i], 1, device->fence));
        DART_TRY(dart_vulkan_wait(device, device->fence));
        if (clock) clock[i] = dart_seconds() - start;
    }
    return DART_OK;
}

/* A run that measures its submissions, while nothing else is in flight. */
static dart_status run_measured(vulkan_device *device, dart_program *program)
{
    bool moved;
    DART_TRY(dart_vulkan_flush(device));
    DART_TRY(dart_vulkan_idle(device));
    DART_TRY(run_singly(device, program, program->plain, program->pace.measured));
    DART_TRY(dart_pace_measured(&program->pace, &device->base, program->list, &moved));
    if (moved) forget(device, program);
    return DART_OK;
}

static dart_status give(
    vulkan_device *device, dart_program *program, const dart_fetch *fetch, uint32_t fetches)
{
    const uint32_t at = program->pace.measured || !program->at_work[0] ? 0 : 1;
    vulkan_flight *flight;
    DART_TRY(record_plain(device, program, at));
    if (program->pace.measured) {
        DART_TRY(run_measured(device, program));
        return dart_vulkan_fly(device, NULL, 0, fetch, fetches, &flight);
    }
    DART_TRY(dart_vulkan_fly(device, program->plain + at * program->pace.cuts.submissions,
        program->pace.cuts.submissions, fetch, fetches, &flight));
    program->at_work[at] = true;
    flight->at_work = &program->at_work[at];
    flight->pace = &program->pace;
    return DART_OK;
}

dart_status dart_vulkan_give(
    dart_device *base, dart_program *program, const dart_fetch *fetch, uint32_t fetches)
{
    vulkan_device *device = (vulkan_device *)base;
    return dart_vulkan_settle(device, give(device, program, fetch, fetches));
}

dart_status dart_vulkan_time(dart_device *base, dart_program *program, double *seconds)
{
    vulkan_device *device = (vulkan_device *)base;
    DART_TRY(dart_vulkan_flush(device));
    DART_TRY(prepare_timing(device, program));
    DART_TRY(run_singly(device, program, program->timed, NULL));
    return read_times(device, program, seconds);
}

void dart_vulkan_drop(dart_device *base, dart_program *program)
{
    vulkan_device *device = (vulkan_device *)base;
    if (!device->given_up) {
        vkDestroyQueryPool(device->handle, program->queries, NULL);
        vkDestroyCommandPool(device->handle, program->pool, NULL); /* frees its command buffers */
        vkDestroyDescriptorPool(device->handle, program->sets, NULL);
    }
    dart_pace_end(&program->pace);
    free(program->plain);
    free(program->timed);
    free(program->ticks);
    free(program->list);
    free(program->pipelines);
    free(program->of);
    free(program);
}
