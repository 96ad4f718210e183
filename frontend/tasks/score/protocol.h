/* What perplexity was measured on, and how (dart_protocol of dart.h). */
#ifndef DART_PROTOCOL_H
#define DART_PROTOCOL_H

#include "setup.h"

void dart_protocol_for(const dart_settings *set, const dart_corpus *corpus, dart_protocol *out);

#endif
