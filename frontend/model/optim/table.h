/* Inside this room only: the table's symbols and what optimizers share. */
#ifndef DART_OPTIM_TABLE_H
#define DART_OPTIM_TABLE_H

#include "optim.h"

#define OPTIM(name) extern const dart_optim dart_optims_##name;
#include "optim.def"
#undef OPTIM

#endif
