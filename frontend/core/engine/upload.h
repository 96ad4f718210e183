/* A model's values on a device. */
#ifndef DART_UPLOAD_H
#define DART_UPLOAD_H

#include "model.h"
#include "program.h"

/* Cuts PARAM, what has its layout (GRAD, PENALTY) and FROZEN where one buffer would be longer than
 * the device allocates: between tensors, and a matrix that is longer by itself between its rows.
 * Before graphs are planned, with those regions' words set. */
DART_NODISCARD dart_status dart_model_cut(
    const dart_model *model, const dart_caps *caps, dart_memory *memory);
/* Writes PARAM and FROZEN where `memory` has buffers for them; param, frozen: as dart_model_init
 * lays them out. What is packed is written as it is, word for word. */
DART_NODISCARD dart_status dart_model_upload(const dart_model *model, dart_device *device,
    const dart_memory *memory, const float *param, const float *frozen);

#endif
