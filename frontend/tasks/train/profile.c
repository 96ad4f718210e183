/* One step of a run launch by launch, for whoever wants to know where its time goes. The step's
 * bits are those that it would have had. */
#include "peak.h"
#include "profile.h"
#include "file.h"
#include "memstream.h"
#include "run.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WARM = 10, SHOWN = 24 }; /* steps after which clocks and caches are as usual; rows a table */

bool dart_run_profile_due(dart_run *run)
{
    if (!run->bundle.set.profile || run->profiled) return false;
    const bool last = run->step + 1 == dart_run_steps(run);
    return ++run->profile_steps == WARM || last;
}

dart_status dart_run_profile_add(
    void *profile, const char *name, const dart_graph_program *program, const double *seconds)
{
    return dart_profile_add(profile, name, program, sizeof(float), seconds);
}

static dart_status markdown(const dart_profile *profile, FILE *out)
{
    return dart_profile_markdown(profile, SHOWN, out);
}

static dart_status json(const dart_profile *profile, FILE *out)
{
    dart_status status = DART_OK;
    json_t *body = dart_profile_json(profile, &status);
    return dart_json_print(body, status, JSON_INDENT(2) | JSON_REAL_PRECISION(9), out);
}

static dart_status trace(const dart_profile *profile, FILE *out)
{
    return dart_profile_trace(&profile, 1, out);
}

static dart_status write(const dart_run *run, const dart_profile *profile, const char *name,
    dart_status (*print)(const dart_profile *, FILE *))
{
    char path[DART_RUN_PATH + 32], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", run->dir, name);
    FILE *out = dart_memstream_open(&text, &size);
    if (!out) return DART_MEMORY;
    dart_status status = print(profile, out);
    if (status != DART_OK) {
        fclose(out);
        free(text);
        return status;
    }
    DART_TRY(dart_memstream_close(out, "a profile", &text));
    status = dart_file_write_atomic(path, text, size);
    free(text);
    return status;
}

dart_status dart_run_profile_end(dart_run *run, dart_profile *profile)
{
    dart_peak peak;
    dart_device *device = run->device;
    run->profiled = true;
    dart_device_id(device, profile->device);
    snprintf(profile->name, sizeof profile->name, "%s", device->caps.name);
    DART_TRY(dart_peak_measure(device, &peak));
    profile->roof_flops = peak.flops;
    profile->roof_bytes = peak.bytes;
    DART_TRY(write(run, profile, "profile.md", markdown));
    DART_TRY(write(run, profile, "profile.json", json));
    DART_TRY(write(run, profile, "trace.json", trace));
    dart_run_note(run,
        "step %" PRIu64 " launch by launch: %s/profile.md, profile.json, and trace.json for "
        "ui.perfetto.dev",
        run->step + 1, run->dir);
    return DART_OK;
}
