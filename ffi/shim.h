/* Plain C symbols for what DPDK only offers as static inline or as a thread-local variable. */
#ifndef DMSC_SHIM_H
#define DMSC_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;

/* Data path: one call per burst. */
uint16_t dmsc_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t dmsc_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
struct rte_mbuf *dmsc_mbuf_alloc(struct rte_mempool *pool);
int dmsc_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);
void dmsc_mbuf_free(struct rte_mbuf *mbuf);
void dmsc_mbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int n);
int dmsc_mbuf_linearize(struct rte_mbuf *mbuf);
/* 1 if the chain is well formed and nobody else refers to it, 0 otherwise. */
int dmsc_mbuf_is_exclusive(const struct rte_mbuf *mbuf);
uint64_t dmsc_tsc(void);

/* Thread-local variables, which must not be bound directly: the binding links and then crashes. */
unsigned int dmsc_lcore_id(void);
int dmsc_errno(void);

/* Bytes of one mbuf's buffer, headroom included. */
uint16_t dmsc_pool_data_room(struct rte_mempool *pool);

/*
 * DPDK's log goes through one stream of ours. While capturing, it is kept (the last DMSC_LOG_MAX
 * bytes) instead of written to stderr, so that an error can carry the driver's own words.
 */
#define DMSC_LOG_MAX 4096
int dmsc_log_open(void);
void dmsc_log_capture(void);
size_t dmsc_log_release(char *out, size_t size);

/*
 * `hook` is called, on whatever thread, before the memif driver takes an interrupt callback back, which it does between
 * marking a port as disconnected and unmapping its rings. It must not call into EAL's interrupts but for alarms.
 */
void dmsc_unregister_hook(void (*hook)(void));

/* Offsets of the fields that Rust reads and writes itself, in the order of `MBUF_FIELDS`. */
#define DMSC_MBUF_FIELDS 18
extern const uint16_t dmsc_mbuf_offsets[DMSC_MBUF_FIELDS];
extern const uint16_t dmsc_mbuf_size;

#endif
