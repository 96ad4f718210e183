/* The buffers of the regions, shared by all plans of a stage. A region that is longer than a device
 * allocates lies in several buffers, its pieces, cut where its owner says. */
#ifndef DART_MEMORY_H
#define DART_MEMORY_H

#include "backend.h"
#include "ir.h"

enum { DART_MEMORY_PIECES = 1024 }; /* of all regions together */

typedef struct dart_piece {
    dart_region region;
    dart_buffer buffer;
    uint64_t start; /* the first of its words */
} dart_piece;

/* Zero-initialise it and set `words`; then cut, plan, allocate. */
typedef struct dart_memory {
    uint64_t words[DART_REGIONS];
    dart_buffer buffer[DART_REGIONS]; /* of a region that is cut: of its first piece */
    uint32_t pieces;                  /* of regions that are cut, by region, ascending */
    dart_piece piece[DART_MEMORY_PIECES];
    /* MOMENT is (states, state_words) for graphs and on the host. Where span is not 0, a piece has
     * all states of `span` words of PARAM behind each other, of the last piece of what is left. */
    uint64_t span, state_words;
    /* NULL, or FROZEN on the host, which a device may use as it is; outlives this */
    float *frozen;
} dart_memory;

/* Cuts a region before graphs are planned for it: at some of `count` ascending words at which
 * tensors begin (0 the first), so that no piece is longer than the device allocates, where tensors
 * allow that. Nothing is cut that fits into one buffer. MEMORY: more than DART_MEMORY_PIECES. */
DART_NODISCARD dart_status dart_memory_cut(dart_memory *memory, const dart_caps *caps,
    dart_region region, uint32_t count, const uint64_t *begins);
/* Cuts MOMENT, whose words are `states` times those of PARAM, so that all states of a piece's words
 * fit into one binding and one buffer. Nothing is cut that does. MEMORY: as above. */
DART_NODISCARD dart_status dart_memory_cut_moments(
    dart_memory *memory, const dart_caps *caps, uint32_t states);
/* The regions that `other` has words of, with its cuts and buffers, which stay its own. MEMORY: as
 * above. */
DART_NODISCARD dart_status dart_memory_join(dart_memory *memory, const dart_memory *other);
/* A zeroed buffer for every region that has words, and every piece; those that host and device pass
 * each other in every step (INPUT to OUTPUT) in memory that the host sees. MEMORY: does not fit;
 * what was allocated until then is dart_memory_free's. */
DART_NODISCARD dart_status dart_memory_new(dart_memory *memory, dart_device *device);
void dart_memory_free(dart_memory *memory, dart_device *device);

/* HOST: host and device pass each other its words in every step. */
dart_mem dart_memory_kind(dart_region region);
/* Words of a region from `offset` on that lie in one buffer; of MOMENT as it is cut, not as graphs
 * see it. */
uint64_t dart_memory_run(const dart_memory *memory, dart_region region, uint64_t offset);
/* A word of MOMENT as graphs see it: where it lies in the region as it is cut, how many words from
 * it on follow there, and how far the states of a word are apart (0: not cut, the graph knows). */
typedef struct dart_moment {
    uint64_t place, run, stride;
} dart_moment;
dart_moment dart_memory_moment(const dart_memory *memory, uint64_t offset);
/* The buffer that has words of a region. FAILED: they are not allocated, or not all in one. */
DART_NODISCARD dart_status dart_memory_slice(const dart_memory *memory, dart_region region,
    uint64_t offset, uint64_t words, dart_slice *out);

/* Words of a region from and to the host, over all its pieces; MOMENT as graphs see it. */
DART_NODISCARD dart_status dart_memory_write(const dart_memory *memory, dart_device *device,
    dart_region region, uint64_t offset, uint64_t words, const float *data);
DART_NODISCARD dart_status dart_memory_read(const dart_memory *memory, dart_device *device,
    dart_region region, uint64_t offset, uint64_t words, float *data);
/* The first `words` words of a region, made on the host by fill(of, words zeros). */
DART_NODISCARD dart_status dart_memory_fill(const dart_memory *memory, dart_device *device,
    dart_region region, uint64_t words, void (*fill)(const void *of, float *out), const void *of);

#endif
