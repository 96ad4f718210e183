/* Log lines to stderr for --verbose; silent by default. Never for results. */
#ifndef DART_LOG_H
#define DART_LOG_H

void dart_log_level(int level); /* 0 silent, 1 notes, 2 debug */
void dart_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
