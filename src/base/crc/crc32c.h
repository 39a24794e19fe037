/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; test vectors: RFC 3720 appendix B.4).
 *
 * Place: base. Uses the SSE4.2 instruction when the processor has it, a table otherwise; both are
 * tested against each other. */
#ifndef CRC_CRC32C_H
#define CRC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of the bytes; crc is 0 to begin, or the result for the bytes before these. data may be
 * NULL when len is 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The portable form, for the tests and for processors without the instruction. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
