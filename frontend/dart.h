/* DART-LLM's public interface. Nothing here prints, except through callbacks; nothing exits.
 * dart/base.h has the rules that hold for all of it: sizes, ownership, errors, threads. */
#ifndef DART_H
#define DART_H

#include "dart/base.h"
#include "dart/device.h"
#include "dart/infer.h"
#include "dart/model.h"
#include "dart/recipe.h"
#include "dart/tokenizer.h"
#include "dart/tools.h"
#include "dart/train.h"
#include "dart/tune.h"

#endif
