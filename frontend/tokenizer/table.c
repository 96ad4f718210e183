/* Open addressing with XXH3, at most half full; made once, then only read. */
#include "table.h"
#include <string.h>
#include <xxhash.h>

dart_status dart_token_table_new(
    dart_arena *arena, uint32_t size, uint64_t bytes, dart_token_table *out)
{
    uint64_t slots = 16;
    *out = (dart_token_table){.size = size};
    while (slots < 2 * (uint64_t)size) slots *= 2;
    out->mask = slots - 1;
    out->text = DART_NEW(arena, dart_token_text, size);
    out->slot = DART_NEW(arena, uint64_t, slots);
    out->pool = dart_arena_alloc(arena, bytes + size + 1);
    if (!out->text || !out->slot || !out->pool) return DART_MEMORY;
    return DART_OK;
}

static uint64_t *find(const dart_token_table *table, const char *text, size_t bytes, uint64_t hash)
{
    for (uint64_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        uint64_t slot = table->slot[at];
        if (!slot) return &table->slot[at];
        if ((slot ^ hash) >> 32) continue;
        const dart_token_text *known = &table->text[(uint32_t)slot - 1];
        if (known->bytes == bytes && !memcmp(known->at, text, bytes)) return &table->slot[at];
    }
}

int32_t dart_token_table_add(dart_token_table *table, uint32_t id, const char *text, size_t bytes)
{
    if (table->text[id].at) return (int32_t)id;
    uint64_t hash = XXH3_64bits(text, bytes), *slot = find(table, text, bytes, hash);
    if (*slot) return (int32_t)((uint32_t)*slot - 1);
    *slot = (hash & ~(uint64_t)UINT32_MAX) | (id + 1);
    table->text[id] = (dart_token_text){table->pool, (uint32_t)bytes};
    memcpy(table->pool, text, bytes);
    table->pool[bytes] = 0;
    table->pool += bytes + 1;
    return -1;
}

int32_t dart_token_find(const dart_token_table *table, const char *text, size_t bytes)
{
    uint64_t slot = *find(table, text, bytes, XXH3_64bits(text, bytes));
    return slot ? (int32_t)((uint32_t)slot - 1) : -1;
}
