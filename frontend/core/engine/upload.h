/* A model's values on a device. */
#ifndef DART_UPLOAD_H
#define DART_UPLOAD_H

#include "model.h"
#include "program.h"

/* As dart_memory_new, for a memory of which FROZEN, where it has words, is the model's: it is cut
 * between tensors where one buffer would be longer than the device allocates. */
DART_NODISCARD dart_status dart_model_memory(
    const dart_model *model, dart_device *device, dart_memory *memory);
/* Writes PARAM and FROZEN where `memory` has buffers for them; param, frozen: as dart_model_init
 * lays them out. What is packed is written as it is, word for word. */
DART_NODISCARD dart_status dart_model_upload(const dart_model *model, dart_device *device,
    const dart_memory *memory, const float *param, const float *frozen);

#endif
