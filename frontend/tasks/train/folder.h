/* The folder of a run: chosen and looked at without touching it, then made ready. */
#ifndef DART_FOLDER_H
#define DART_FOLDER_H

#include "lock.h"
#include "note.h"
#include "recipe.h"

enum { DART_RUN_PATH = 512 };

typedef struct dart_folder {
    char dir[DART_RUN_PATH];
    bool resume; /* goes on with the run that is there */
    bool aside;  /* an earlier run's work is to be moved out of the way */
    bool inside; /* it lies in a folder that this process holds */
    bool made;   /* nobody had named it, and it was made at once, so that nobody else takes it */
    dart_lock lock;
} dart_folder;

/* "<dir>/<name>". INPUT: too long. */
DART_NODISCARD dart_status dart_folder_path(
    char out[DART_RUN_PATH], const char *dir, const char *name);
/* Where a run of `given` lives, and its recipe: the stored one where it resumes, expanded. A folder
 * that is there is locked until dart_folder_release, which is called also after a failure. INPUT:
 * another process works there; work of another run lies there and neither --resume nor --force is
 * given; nothing to resume; a recipe that is not the stored one. */
DART_NODISCARD dart_status dart_folder_choose(
    const dart_recipe *given, dart_folder *out, dart_recipe **out_recipe);
/* Moves all that a run made in `dir` to "<dir>.bak-1", or the next number that is free. */
DART_NODISCARD dart_status dart_folder_set_aside(const char *dir, dart_note note);
/* Moves the work of an earlier run, or another recipe, aside ("<dir>.bak-1", "recipe.yaml.bak-1"),
 * and writes the recipe. Nothing is deleted. */
DART_NODISCARD dart_status dart_folder_prepare(
    dart_folder *folder, const dart_recipe *recipe, dart_note note);
/* Gives the folder up; removes one that was made and has nothing in it. */
void dart_folder_release(dart_folder *folder);

#endif
