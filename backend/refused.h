/* Kernels that a device's driver could not make: kept with the device and in the cache folder, so
 * that a simpler form takes their place from the first try on. */
#ifndef DART_REFUSED_H
#define DART_REFUSED_H

#include "form.h"

typedef struct dart_refused dart_refused;

/* Those of the cache folder, or none: what cannot be read counts as none. MEMORY. */
DART_NODISCARD dart_status dart_refused_open(const dart_device *device, dart_refused **out);
void dart_refused_close(dart_refused *refused); /* NULL is fine */
bool dart_refused_has(const dart_refused *refused, const dart_form *form);
/* Also into the cache folder, where there is one. MEMORY. */
DART_NODISCARD dart_status dart_refused_add(dart_refused *refused, const dart_launch *launch);
/* Brings a launch to the first form that was not refused. DEVICE: all were. */
DART_NODISCARD dart_status dart_refused_replace(
    const dart_refused *refused, const dart_caps *caps, dart_launch *launch);

#endif
