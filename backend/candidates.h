/* The forms of a kernel that may be measured on a device and chosen there instead of what the
 * shipped table says, and which launches share a choice. */
#ifndef DART_CANDIDATES_H
#define DART_CANDIDATES_H

#include "form.h"

enum { DART_CLASS_SIZES = 4, DART_MOST_CANDIDATES = 64 };

/* What launches that share a choice have in common. */
typedef struct dart_class {
    uint32_t kernel;
    uint32_t mode[DART_MAX_TUNE];    /* the MODE constants in their slots; 0 in all others */
    uint32_t size[DART_CLASS_SIZES]; /* sizes by the kernel's row of the table; 0: it has fewer */
} dart_class;

/* false: nothing is chosen for this kernel. The launch has its parameters and MODE constants. */
bool dart_class_of(const dart_launch *launch, dart_class *out);
/* "m"; NULL where the kernel has no such size, or nothing is chosen for it. */
const char *dart_class_size_name(uint32_t kernel, uint32_t index);
/* The forms to measure on a device of these caps, in the table's order; how many. What would
 * leave most of a tile empty in all launches of the class is none of them. A launch may still not
 * allow one (dart_launch_form). */
uint32_t dart_candidates_of(
    const dart_caps *caps, const dart_class *class, dart_form out[DART_MOST_CANDIDATES]);
/* Results that a work-group makes, by which forms are alike: those next to a good one are measured
 * first. 0: a library's, which is like none of ours. */
double dart_form_results(const dart_class *class, const dart_form *form);
/* Of all that a choice depends on besides the device: the kernel's texts and the candidates. */
uint64_t dart_candidates_sum(uint32_t kernel);
/* Work-groups of a launch that has a variant and constants; 0: they do not fit its parameters. The
 * kernel is one of those with candidates. */
uint64_t dart_form_groups(const dart_caps *caps, const dart_launch *launch);

#endif
