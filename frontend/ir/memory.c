/* Buffers of the regions, and regions in several buffers. */
#include "memory.h"
#include <stdlib.h>

enum { ALIGN = 64 }; /* words: every device's slices may begin there */

dart_mem dart_memory_kind(dart_region region)
{
    return region >= DART_REGION_INPUT && region <= DART_REGION_OUTPUT ? DART_MEM_HOST
                                                                       : DART_MEM_DEVICE;
}

static dart_status add_piece(dart_memory *memory, dart_piece piece)
{
    if (memory->pieces == DART_MEMORY_PIECES)
        return dart_fail(DART_MEMORY,
            "the matrices do not fit into %d buffers of this device; keep frozen ones in fewer "
            "bits (base_dtype), or train fewer",
            DART_MEMORY_PIECES);
    uint32_t at = memory->pieces++;
    for (; at > 0 && memory->piece[at - 1].region > piece.region; at--)
        memory->piece[at] = memory->piece[at - 1];
    memory->piece[at] = piece;
    return DART_OK;
}

dart_status dart_memory_cut(dart_memory *memory, const dart_caps *caps, dart_region region,
    uint32_t count, const uint64_t *begins)
{
    const uint64_t all = memory->words[region], most = caps->max_alloc / caps->word;
    uint64_t start = 0;
    if (!caps->max_alloc || all <= most) return DART_OK;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t end = i + 1 < count ? begins[i + 1] : all;
        if (i && end - start <= most) continue;
        start = begins[i];
        DART_TRY(add_piece(memory, (dart_piece){.region = region, .start = start}));
    }
    return DART_OK;
}

dart_status dart_memory_cut_moments(dart_memory *memory, const dart_caps *caps, uint32_t states)
{
    uint64_t most = caps->max_alloc;
    if (!most || (caps->max_binding && caps->max_binding < most)) most = caps->max_binding;
    memory->state_words = memory->words[DART_REGION_MOMENT] / states;
    memory->span = most / caps->word / states / ALIGN * ALIGN;
    if (!memory->span || memory->state_words <= memory->span) memory->span = 0;
    for (uint64_t at = 0; memory->span && at < memory->state_words; at += memory->span)
        DART_TRY(
            add_piece(memory, (dart_piece){.region = DART_REGION_MOMENT, .start = states * at}));
    return DART_OK;
}

dart_status dart_memory_join(dart_memory *memory, const dart_memory *other)
{
    for (int r = 0; r < DART_REGIONS; r++) {
        if (!other->words[r]) continue;
        memory->words[r] = other->words[r];
        memory->buffer[r] = other->buffer[r];
    }
    for (uint32_t i = 0; i < other->pieces; i++) DART_TRY(add_piece(memory, other->piece[i]));
    return DART_OK;
}

static uint64_t piece_end(const dart_memory *memory, uint32_t i)
{
    const dart_region region = memory->piece[i].region;
    return i + 1 < memory->pieces && memory->piece[i + 1].region == region
               ? memory->piece[i + 1].start
               : memory->words[region];
}

/* The piece that has the word; `pieces` where the region is not cut. */
static uint32_t piece_of(const dart_memory *memory, dart_region region, uint64_t offset)
{
    for (uint32_t i = 0; i < memory->pieces; i++)
        if (memory->piece[i].region == region && offset >= memory->piece[i].start &&
            offset < piece_end(memory, i))
            return i;
    return memory->pieces;
}

static dart_status new_buffer(const dart_memory *memory, dart_device *device, dart_region region,
    uint64_t start, uint64_t words, dart_buffer *out)
{
    if (region == DART_REGION_FROZEN && memory->frozen)
        return dart_device_share(device, words, memory->frozen + start, out);
    return dart_device_alloc(device, dart_memory_kind(region), words, out);
}

dart_status dart_memory_new(dart_memory *memory, dart_device *device)
{
    for (uint32_t i = 0; i < memory->pieces; i++) {
        dart_piece *piece = &memory->piece[i];
        DART_TRY(new_buffer(memory, device, piece->region, piece->start,
            piece_end(memory, i) - piece->start, &piece->buffer));
        if (!piece->start) memory->buffer[piece->region] = piece->buffer;
    }
    for (int r = DART_REGION_PARAM; r < DART_REGIONS; r++)
        if (!memory->words[r] || memory->buffer[r])
            continue;
        else
            DART_TRY(new_buffer(
                memory, device, (dart_region)r, 0, memory->words[r], &memory->buffer[r]));
    return DART_OK;
}

void dart_memory_free(dart_memory *memory, dart_device *device)
{
    for (uint32_t i = 0; i < memory->pieces; i++) {
        const dart_piece *piece = &memory->piece[i];
        if (!piece->buffer) continue;
        dart_device_free(device, piece->buffer);
        if (!piece->start) memory->buffer[piece->region] = 0;
    }
    for (int r = 0; r < DART_REGIONS; r++)
        if (memory->buffer[r]) dart_device_free(device, memory->buffer[r]);
    *memory = (dart_memory){0};
}

uint64_t dart_memory_run(const dart_memory *memory, dart_region region, uint64_t offset)
{
    const uint32_t i = piece_of(memory, region, offset);
    return i < memory->pieces ? piece_end(memory, i) - offset : UINT64_MAX;
}

dart_moment dart_memory_moment(const dart_memory *memory, uint64_t offset)
{
    if (!memory->span) return (dart_moment){offset, UINT64_MAX, 0};
    const uint64_t all = memory->state_words, states = memory->words[DART_REGION_MOMENT] / all;
    const uint64_t state = offset / all, word = offset % all;
    const uint64_t begin = word / memory->span * memory->span;
    const uint64_t span = all - begin < memory->span ? all - begin : memory->span;
    return (dart_moment){states * begin + state * span + word - begin, span - (word - begin), span};
}

dart_status dart_memory_slice(
    const dart_memory *memory, dart_region region, uint64_t offset, uint64_t words, dart_slice *out)
{
    const char *name = dart_region_name(region);
    const uint64_t all = memory->words[region];
    *out = (dart_slice){memory->buffer[region], offset, words};
    if (!out->buffer || offset > all || words > all - offset)
        return dart_fail(DART_FAILED,
            "the graph uses %llu words of region \"%s\" and %llu are allocated",
            (unsigned long long)(offset + words), name, (unsigned long long)all);
    const uint32_t i = piece_of(memory, region, offset);
    if (i == memory->pieces) return DART_OK;
    out->buffer = memory->piece[i].buffer;
    out->offset = offset - memory->piece[i].start;
    if (words <= piece_end(memory, i) - offset) return DART_OK;
    return dart_fail(DART_FAILED, "words %llu + %llu of region \"%s\" lie in two buffers",
        (unsigned long long)offset, (unsigned long long)words, name);
}

/* The next words of [offset, offset + words) that lie in one buffer. */
static dart_status next_slice(
    const dart_memory *memory, dart_region region, uint64_t offset, uint64_t words, dart_slice *out)
{
    uint64_t run = dart_memory_run(memory, region, offset), place = offset;
    if (region == DART_REGION_MOMENT) {
        const dart_moment moment = dart_memory_moment(memory, offset);
        run = moment.run;
        place = moment.place;
    }
    return dart_memory_slice(memory, region, place, words < run ? words : run, out);
}

dart_status dart_memory_write(const dart_memory *memory, dart_device *device, dart_region region,
    uint64_t offset, uint64_t words, const float *data)
{
    for (uint64_t done = 0; done < words;) {
        dart_slice at;
        DART_TRY(next_slice(memory, region, offset + done, words - done, &at));
        DART_TRY(dart_device_write_f32(device, at.buffer, at.offset, at.words, data + done));
        done += at.words;
    }
    return DART_OK;
}

dart_status dart_memory_read(const dart_memory *memory, dart_device *device, dart_region region,
    uint64_t offset, uint64_t words, float *data)
{
    for (uint64_t done = 0; done < words;) {
        dart_slice at;
        DART_TRY(next_slice(memory, region, offset + done, words - done, &at));
        DART_TRY(dart_device_read_f32(device, at.buffer, at.offset, at.words, data + done));
        done += at.words;
    }
    return DART_OK;
}

dart_status dart_memory_fill(const dart_memory *memory, dart_device *device, dart_region region,
    uint64_t words, void (*fill)(const void *of, float *out), const void *of)
{
    if (!words) return DART_OK;
    float *data = dart_calloc(words, sizeof *data);
    if (!data) return DART_MEMORY;
    fill(of, data);
    dart_status status = dart_memory_write(memory, device, region, 0, words, data);
    free(data);
    return status;
}
