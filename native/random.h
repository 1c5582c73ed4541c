/* random.h - the house's random numbers and hashes, all of them integers.
 *
 * SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixing function. The same function hashes,
 * so that streams are derived from (seed, index, ...) by mixing and never by adding small integers.
 */
#ifndef CLOWDER_RANDOM_H
#define CLOWDER_RANDOM_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define RANDOM_GOLDEN 0x9E3779B97F4A7C15ull

/* SplitMix64's finaliser: a bijection of 64 bits. */
static inline uint64_t random_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

/* The next 64 bits of the stream whose state is *stream. */
static inline uint64_t random_next(uint64_t *stream) {
    *stream += RANDOM_GOLDEN;
    return random_mix(*stream);
}

/* A number in 0..bound-1, by multiply and shift; the bias is under bound / 2^32. */
static inline int32_t random_below(uint64_t *stream, int32_t bound) {
    assert(bound > 0);
    return (int32_t)(((random_next(stream) >> 32) * (uint64_t)(uint32_t)bound) >> 32);
}

/* A number in low..high, both included. */
static inline int32_t random_between(uint64_t *stream, int32_t low, int32_t high) {
    return low + random_below(stream, high - low + 1);
}

/* Folds one more word into a running hash. */
static inline uint64_t random_hash(uint64_t hash, uint64_t word) {
    return random_mix((hash + RANDOM_GOLDEN) ^ random_mix(word + RANDOM_GOLDEN));
}

/* Folds bytes into a running hash, their number included; little-endian words. */
static inline uint64_t random_hash_bytes(uint64_t hash, const void *data, size_t num_bytes) {
    const uint8_t *bytes = (const uint8_t *)data;
    size_t at = 0;
    for (; at + 8 <= num_bytes; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        hash = random_hash(hash, word);
    }
    uint64_t rest = 0;
    if (at < num_bytes) memcpy(&rest, bytes + at, num_bytes - at);
    return random_hash(random_hash(hash, rest), num_bytes);
}

#endif
