/* Stages of a run that are not the user's own. */
#ifndef DART_STAGES_H
#define DART_STAGES_H

#include "recipe.h"

/* A recipe without stages gets warm-up, shrink, pick and tune (or one stage, when nothing is
 * compressed or select is none), so that what is saved says all. */
DART_NODISCARD dart_status dart_recipe_expand(dart_recipe *recipe);

#endif
