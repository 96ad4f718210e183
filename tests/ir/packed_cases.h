/* Cases with packed operands: frozen matrices of every format, and numbers in 16 bits. */
#ifndef DART_TEST_PACKED_CASES_H
#define DART_TEST_PACKED_CASES_H

#include "op_builder.h"

/* With a frozen matrix that is packed, in every format: rows as results and as what is summed over,
 * odd numbers of them, few that it is multiplied with as it is and more, a row alone, a result that
 * is turned, a third operand, two of them, and one that is unpacked panel by panel. */
static inline dart_node case_packed(builder *b, uint32_t v)
{
    enum { KINDS = 9 };
    if (v > KINDS * DART_PACKED_FORMATS) return 0;
    b->tolerance = 1e-9;
    if (v == KINDS * DART_PACKED_FORMATS)
        return dart_contract2(b->g, "ak,nk->an", param(b, DART_SHAPE(9, 8192)),
            packed_leaf(b, DART_PACKED_q4_1, 577, 8192));
    const dart_packed format = (dart_packed)(v / KINDS);
    const uint32_t block = dart_packed_info_of(format).block, k = block == 1 ? 33 : 3 * block;
    switch (v % KINDS) {
    case 0:
        return dart_contract2(
            b->g, "abk,nk->abn", param(b, DART_SHAPE(3, 5, k)), packed_leaf(b, format, 31, k));
    case 1:
        return dart_contract2(
            b->g, "nk,k->n", packed_leaf(b, format, 7, k), param(b, DART_SHAPE(k)));
    case 2:
        return dart_contract2(
            b->g, "an,nk->ka", param(b, DART_SHAPE(9, 5)), packed_leaf(b, format, 5, k));
    case 3:
        return dart_contract(b->g, "ak,nk,nr->ar", 3,
            (dart_node[]){param(b, DART_SHAPE(3, k)), packed_leaf(b, format, 5, k),
                param(b, DART_SHAPE(5, 2))});
    case 4:
        return dart_contract(b->g, "nk,mk,n->m", 3,
            (dart_node[]){packed_leaf(b, format, 5, k), packed_leaf(b, format, 4, k),
                param(b, DART_SHAPE(5))});
    case 5:
        return dart_contract2(
            b->g, "abk,nk->abn", param(b, DART_SHAPE(2, 4, k)), packed_leaf(b, format, 31, k));
    case 6:
        return dart_contract2(
            b->g, "ak,nk->na", param(b, DART_SHAPE(5, k)), packed_leaf(b, format, 33, k));
    case 7: /* x lies across what is summed */
        return dart_contract2(
            b->g, "ka,nk->an", param(b, DART_SHAPE(k, 3)), packed_leaf(b, format, 7, k));
    default:
        return dart_add(b->g, param(b, DART_SHAPE(4, 31)),
            dart_contract2(
                b->g, "ak,nk->an", param(b, DART_SHAPE(4, k)), packed_leaf(b, format, 31, k)));
    }
}

static inline dart_node case_unpack(builder *b, uint32_t v)
{
    if (v >= 2 * DART_PACKED_FORMATS) return 0;
    const dart_packed format = (dart_packed)(v / 2);
    b->tolerance = 1e-12;
    b->no_gradient = true;
    return dart_unpack(
        b->g, packed_leaf(b, format, v % 2 ? 1 : 31, 3 * dart_packed_info_of(format).block));
}

/* Numbers in 16 bits, alone and read or made by every op whose kernel knows them. Gradients pass
 * the rounding: test_narrow.c says what they have to be. */
static inline dart_node case_pack(builder *b, uint32_t v)
{
    enum { KINDS = 14 };
    if (v >= 2 * KINDS) return 0;
    const dart_packed format = v % 2 ? DART_PACKED_bf16 : DART_PACKED_f16;
    const dart_node bias = table(b, DART_SHAPE(34));
    dart_node x = param(b, DART_SHAPE(9, 34)), w;
    b->rounds = true;
    b->tolerance = 1e-9;
    switch (v / 2) {
    case 0:
        b->bit_exact = true;
        return dart_unpack(b->g, dart_pack(b->g, x, format));
    case 1:
        x = dart_pack(b->g, param(b, DART_SHAPE(70, 66)), format);
        return dart_unpack(b->g, dart_reshape(b->g, x, DART_SHAPE(35, 132)));
    case 2:
        return dart_contract2(
            b->g, "ak,nk->an", dart_pack(b->g, x, format), param(b, DART_SHAPE(31, 34)));
    case 3:
        return dart_contract2(
            b->g, "ka,kn->na", dart_pack(b->g, x, format), param(b, DART_SHAPE(9, 5)));
    case 4: /* one of them in another order */
        w = dart_pack(b->g, param(b, DART_SHAPE(34, 3, 4)), format);
        return dart_contract2(b->g, "ak,kij->jai", dart_pack(b->g, x, format), w);
    case 5:
        return dart_map1(b->g, DART_OP_gelu, dart_pack(b->g, x, format), 0, 0);
    case 6:
        w = dart_pack(b->g, param(b, DART_SHAPE(9, 34)), format);
        return dart_map2(b->g, DART_OP_swiglu, dart_pack(b->g, x, format), w, 0, 0);
    case 7:
        return dart_add(b->g, x, dart_pack(b->g, param(b, DART_SHAPE(34)), format));
    case 8:
        return dart_layernorm(b->g, dart_pack(b->g, x, format), bias, bias, 1e-5);
    case 9:
        return dart_rmsnorm(b->g, dart_pack(b->g, x, format), bias, 1e-5);
    default:
        break;
    }
    b->tolerance = format == DART_PACKED_f16 ? 1e-8 : 1e-6; /* what lies near the middle */
    if (v / 2 == 10)
        x = dart_map1(b->g, DART_OP_silu, dart_pack(b->g, x, format), 0, 0);
    else if (v / 2 == 11)
        x = dart_rmsnorm(b->g, x, bias, 1e-5);
    else if (v / 2 == 12)
        x = dart_add(
            b->g, dart_contract2(b->g, "ak,nk->an", x, param(b, DART_SHAPE(34, 34))), bias);
    else /* a sum in parts */
        x = dart_contract2(
            b->g, "ka,kn->an", param(b, DART_SHAPE(4096, 6)), param(b, DART_SHAPE(4096, 10)));
    return dart_unpack(b->g, dart_pack(b->g, x, format));
}

#endif
