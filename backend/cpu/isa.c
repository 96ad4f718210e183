/* Chooses the instruction set of the kernels. */
#include "isa.h"
#include "names.h"
#include <string.h>

/* Rows ISA(name, condition), made by cmake/cpu.cmake. */
#define ISA(name, condition)                                                                       \
    extern const cpu_kernel *const dart_cpu_##name##_kernels[DART_KERNELS];                        \
    static bool has_##name(void)                                                                   \
    {                                                                                              \
        return condition;                                                                          \
    }
#include "cpu_isas.inc"
#undef ISA

static const dart_cpu_isa isas[] = {
#define ISA(name, condition) {#name, dart_cpu_##name##_kernels, has_##name},
#include "cpu_isas.inc"
#undef ISA
};

enum { ISAS = sizeof isas / sizeof *isas };

const dart_cpu_isa *dart_cpu_isa_at(uint32_t index)
{
    return index < ISAS ? &isas[index] : NULL;
}

static const char *isa_name(const void *context, uint32_t index)
{
    (void)context;
    return index < ISAS ? isas[index].name : NULL;
}

dart_status dart_cpu_isa_choose(const char *wanted, const dart_cpu_isa **out_isa)
{
    *out_isa = NULL;
    for (uint32_t i = 0; i < ISAS; i++) {
        bool named = wanted && *wanted;
        if (named && strcmp(isas[i].name, wanted) != 0) continue;
        if (isas[i].supported())
            *out_isa = &isas[i];
        else if (named)
            return dart_fail(DART_DEVICE,
                "this processor lacks what the kernels %s need; unset DART_CPU_ISA to let the "
                "program choose",
                wanted);
    }
    if (*out_isa) return DART_OK;
    return dart_name_unknown(
        DART_USAGE, "instruction set in DART_CPU_ISA", wanted, isa_name, NULL, "");
}
