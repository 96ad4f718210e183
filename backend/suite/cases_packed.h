/* Packed matrices for cases: random words that are numbers. */
#ifndef DART_SUITE_CASES_PACKED_H
#define DART_SUITE_CASES_PACKED_H

#include "cases.h"
#include "packed.h"

/* Makes random words packed rows of `columns`: scales are halves or floats of any sign between
 * 2^-14 and 2; all numbers are finite. And the next tensor of the case, of such rows. */
void dart_suite_pack(uint32_t *words, dart_packed format, uint32_t rows, uint32_t columns);
void dart_suite_packed(suite *s, dart_packed format, uint32_t rows, uint32_t columns);

#endif
