/* Inside this room only: the table's symbols. */
#ifndef DART_REG_TABLE_H
#define DART_REG_TABLE_H

#include "reg.h"

#define REG(name) extern const dart_reg dart_regs_##name;
#include "reg.def"
#undef REG

#endif
