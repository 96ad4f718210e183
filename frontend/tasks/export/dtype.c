/* How the matrices of an exported model are stored. */
#include "export.h"
#include <math.h>
#include <string.h>

dart_status dart_export_dtype(const dart_exporting *e, bool blocks, const dart_block_format **out)
{
    static const struct {
        const char *name;
        dart_block_id id;
    } known[] = {{"f32", DART_BLOCK_F32}, {"f16", DART_BLOCK_F16}, {"bf16", DART_BLOCK_BF16},
        {"q8_0", DART_BLOCK_Q8_0}, {"q4_0", DART_BLOCK_Q4_0}};
    const char *name = e->options->dtype && *e->options->dtype ? e->options->dtype : "f32";
    for (int i = 0; i < (blocks ? 5 : 3); i++)
        if (!strcmp(known[i].name, name)) {
            *out = dart_block_format_of(known[i].id);
            return DART_OK;
        }
    return dart_fail(DART_USAGE, "unknown dtype '%.40s'; --format %s knows f32, f16, bf16%s", name,
        e->options->format, blocks ? ", q8_0, q4_0" : "");
}

dart_status dart_export_finite(const char *name, const float *value, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(value[i]))
            return dart_fail(DART_INPUT,
                "%s has the value %g at place %llu, which no other program computes with: the "
                "model "
                "is damaged, or an adapter's numbers or scale are too large",
                name, (double)value[i], (unsigned long long)i);
    return DART_OK;
}
