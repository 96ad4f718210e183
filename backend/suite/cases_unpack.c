/* Cases of unpack: every format, whole and by ids, columns that fill words and that do not. */
#include "cases_packed.h"

void dart_suite_pack(uint32_t *w, dart_packed format, uint32_t rows, uint32_t columns)
{
    const dart_packed_info info = dart_packed_info_of(format);
    const uint32_t pitch = dart_packed_pitch(format, columns);
    const uint32_t codes = dart_packed_codes(format, columns);
    for (uint32_t r = 0; r < rows; r++, w += pitch) {
        if (info.bits == 16) { /* finite; of three columns subnormal, where those are halves */
            const bool bf16 = format == DART_PACKED_bf16;
            const uint32_t mask = bf16 ? 0xbf7fbf7f : columns == 3 ? 0x83ff83ff : 0xbfffbfff;
            /* a device may take subnormal floats, and products that are, for zero */
            const uint32_t least = bf16 ? 0x20002000 : 0;
            for (uint32_t i = 0; i < pitch; i++) w[i] = (w[i] & mask) | least;
            continue;
        }
        const uint32_t halves = info.scale_bits == 8 ? (columns / info.block + 3) / 4 : 0;
        for (uint32_t i = codes + halves; i < pitch; i++)
            w[i] = info.scale_bits == 32 && format != DART_PACKED_q4_1
                       ? (w[i] & 0x80ffffff) | 0x3c000000
                       : w[i] & 0xbfffbfff;
    }
}

void dart_suite_packed(suite *s, dart_packed format, uint32_t rows, uint32_t columns)
{
    const uint32_t pitch = dart_packed_pitch(format, columns);
    dart_suite_pack(dart_suite_bits(s, (uint64_t)rows * pitch), format, rows, columns);
}

static void one(
    suite *s, dart_packed format, uint32_t cols, uint32_t rows, bool by_id, uint32_t begin)
{
    const uint32_t total = by_id ? 19 : rows;
    unpack_params p = {
        rows, cols, total, dart_packed_pitch(format, cols), dart_packed_codes(format, cols), begin};
    /* products of few bits are exact */
    const bool exact =
        format == DART_PACKED_f16 || format == DART_PACKED_q8_0 || format == DART_PACKED_q4_0;
    dart_suite_case(s, DART_K_unpack, &p, exact ? SUITE_EXACT : SUITE_ELEMENT,
        "%s %u%s rows of %u from %u on", dart_packed_info_of(format).name, rows,
        by_id ? " chosen" : "", cols, begin);
    dart_suite_mode(s, "FORMAT", format);
    dart_suite_mode(s, "BY_ID", by_id);
    int32_t *ids = dart_suite_integers(s, rows);
    for (uint32_t r = 0; r < rows; r++) {
        ids[r] = (int32_t)(begin + dart_suite_random(s, total));
        if (r % 9 == 4) ids[r] = r & 1 ? -1 : (int32_t)(begin + total); /* outside */
        if (begin && r % 9 == 7) ids[r] = (int32_t)dart_suite_random(s, begin);
    }
    dart_suite_packed(s, format, total, cols);
    if (begin) /* what is outside stays */
        dart_suite_normal(s, (uint64_t)rows * cols, 0, 1);
    else
        dart_suite_output(s, (uint64_t)rows * cols);
    dart_suite_done(s);
}

void dart_suite_cases_unpack(suite *s)
{
    static const uint32_t blocks[] = {1, 2, 3, 9, 33, 260};
    static const uint32_t rows[] = {1, 3, 33};
    for (int format = 0; format < DART_PACKED_FORMATS; format++) {
        const uint32_t block = dart_packed_info_of((dart_packed)format).block;
        for (uint32_t i = 0; i < 6 * 3 * 3; i++) {
            uint32_t cols = block * blocks[i / 9];
            if (block > 1 && blocks[i / 9] == 260) cols = 64 * 260; /* two groups of nf4_double */
            one(s, (dart_packed)format, cols, cols > 9000 ? 2 : rows[i / 3 % 3], i % 3 > 0,
                i % 3 == 2 ? 128 : 0);
        }
    }
}
