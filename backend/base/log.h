/* Log lines for whoever called dart_set_log; see dart/base.h. Never for results. */
#ifndef DART_LOG_H
#define DART_LOG_H

/* level: 0 always, 1 notes, 2 debugging. */
void dart_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
