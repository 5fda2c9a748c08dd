/* frontend/wire.h — protobuf bytes to protobuf-c structs, without trusting a byte.
 *
 * protobuf-c's own unpacker recurses, copies every byte field and keeps unknown fields; this one
 * has a depth limit, allocates exactly what is kept and lets byte fields point into the file. The
 * schema comes from protobuf-c's descriptors. */
#ifndef LCC_WIRE_H
#define LCC_WIRE_H

#include "ir/base.h"
#include <protobuf-c/protobuf-c.h>

enum { WIRE_DEPTH_MAX = 100 }; /* nested messages below the outermost one */

/* What is wrong with the bytes: `why` in a few words, in which message type, at which offset. */
typedef struct WireFault {
    const char *why, *in;
    size_t where;
} WireFault;

/* Checks n bytes against the schema, iteratively. *cost: bytes wire_unpack will allocate. */
bool wire_scan(const unsigned char *at, size_t n, const ProtobufCMessageDescriptor *desc,
               uint64_t *cost, WireFault *fault);

/* Unpacks bytes that wire_scan accepted; NULL when merging messages that were given twice would
 * take more than `spare` bytes. Byte fields point into `at`, which must live as long as the result
 * and is changed: long byte fields are moved down to a multiple of 4. */
void *wire_unpack(Ctx *ctx, unsigned char *at, size_t n, const ProtobufCMessageDescriptor *desc,
                  uint64_t spare);

#endif
