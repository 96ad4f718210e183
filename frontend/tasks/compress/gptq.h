/* GPTQ (Frantar et al. 2022, arXiv 2210.17323): a matrix rounded to blocks that share a scale, such
 * that its outputs over a text stay near, not its entries. Columns are rounded in order, and what
 * one is off by is made up for by those that are not rounded yet. */
#ifndef DART_GPTQ_H
#define DART_GPTQ_H

#include "packed_rows.h"

/* Whether packing finds what it makes of a format's blocks without an error: where there are
 * blocks, whose scales are not rounded together. */
bool dart_gptq_format(dart_packed format);
/* "nf4, q4_0, q8_0" */
const char *dart_gptq_formats(void);

/* out (rows, columns): `matrix` rounded to numbers that dart_packed_encode packs into `format`, one
 * that dart_gptq_format allows, and finds again bit for bit. plain (rows, columns): what that makes
 * of `matrix` itself. columns: a multiple of the format's block. moments
 * (columns, columns): of the inputs, symmetric, times any number; a hundredth of their mean
 * diagonal is added to the diagonal. Rows are spread over host threads, of whose number the result
 * does not depend. `what` names the matrix. INPUT: moments that are not finite, or all zero; a
 * number that the format does not hold. MEMORY. */
DART_NODISCARD dart_status dart_gptq(dart_packed format, uint32_t rows, uint32_t columns,
    const float *matrix, const double *moments, const char *what, float *plain, float *out);

#endif
