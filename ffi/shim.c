/* Plain C symbols for DPDK's static inlines, and the check that Rust's mbuf layout is DPDK's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_interrupts.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "shim.h"

uint16_t dmsc_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t dmsc_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

struct rte_mbuf *dmsc_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int dmsc_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void dmsc_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

void dmsc_mbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int n)
{
	rte_pktmbuf_free_bulk(mbufs, n);
}

int dmsc_mbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

int dmsc_mbuf_is_exclusive(const struct rte_mbuf *mbuf)
{
	const char *reason;
	const struct rte_mbuf *seg;

	if (rte_mbuf_check(mbuf, 1, &reason) != 0)
		return 0;
	for (seg = mbuf; seg != NULL; seg = seg->next)
		if (rte_mbuf_refcnt_read(seg) != 1 || RTE_MBUF_CLONED(seg))
			return 0;
	return 1;
}

uint64_t dmsc_tsc(void)
{
	return rte_rdtsc();
}

unsigned int dmsc_lcore_id(void)
{
	return rte_lcore_id();
}

int dmsc_errno(void)
{
	return rte_errno;
}

uint16_t dmsc_pool_data_room(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool);
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_kept[DMSC_LOG_MAX];
static size_t log_len;
static int log_capturing;

static ssize_t log_write(void *cookie, const char *buf, size_t size)
{
	size_t n = size;

	(void)cookie;
	pthread_mutex_lock(&log_lock);
	if (log_capturing) {
		/* Keep the newest bytes: the reason of a failure is in the last lines. */
		if (n > DMSC_LOG_MAX) {
			buf += n - DMSC_LOG_MAX;
			n = DMSC_LOG_MAX;
		}
		if (log_len + n > DMSC_LOG_MAX) {
			size_t cut = log_len + n - DMSC_LOG_MAX;

			memmove(log_kept, log_kept + cut, log_len - cut);
			log_len -= cut;
		}
		memcpy(log_kept + log_len, buf, n);
		log_len += n;
	} else if (write(STDERR_FILENO, buf, n) < 0) {
		/* Nobody reads stderr: a log line is not worth failing for. */
	}
	pthread_mutex_unlock(&log_lock);
	return (ssize_t)size;
}

int dmsc_log_open(void)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *stream = fopencookie(NULL, "w", io);

	if (stream == NULL)
		return -1;
	setvbuf(stream, NULL, _IOLBF, 1024);
	return rte_openlog_stream(stream);
}

void dmsc_log_capture(void)
{
	pthread_mutex_lock(&log_lock);
	log_len = 0;
	log_capturing = 1;
	pthread_mutex_unlock(&log_lock);
}

size_t dmsc_log_release(char *out, size_t size)
{
	size_t n;

	pthread_mutex_lock(&log_lock);
	n = log_len < size ? log_len : size;
	memcpy(out, log_kept, n);
	log_len = 0;
	log_capturing = 0;
	pthread_mutex_unlock(&log_lock);
	return n;
}

static void (*unregister_hook)(void);

void dmsc_unregister_hook(void (*hook)(void))
{
	__atomic_store_n(&unregister_hook, hook, __ATOMIC_RELEASE);
}

static void before_unregister(void)
{
	void (*hook)(void) = __atomic_load_n(&unregister_hook, __ATOMIC_ACQUIRE);

	if (hook != NULL)
		hook();
}

/*
 * Stands before DPDK's function of the same name: drivers that EAL loads find the program's first. In a static build
 * build.rs makes the memif driver call it by a name of its own.
 */
#ifdef DMSC_STATIC
int dmsc_intr_callback_unregister(const struct rte_intr_handle *handle, rte_intr_callback_fn cb, void *arg);
int dmsc_intr_callback_unregister(const struct rte_intr_handle *handle, rte_intr_callback_fn cb, void *arg)
{
	before_unregister();
	return rte_intr_callback_unregister(handle, cb, arg);
}
#else
/* Other drivers unmap nothing then, and may do it while the interrupt thread is parked, where nothing would end the pause. */
static int is_of_memif(rte_intr_callback_fn cb)
{
	Dl_info from;

	return dladdr((void *)cb, &from) != 0 && from.dli_fname != NULL && strstr(from.dli_fname, "rte_net_memif") != NULL;
}

int rte_intr_callback_unregister(const struct rte_intr_handle *handle, rte_intr_callback_fn cb, void *arg)
{
	int (*next)(const struct rte_intr_handle *, rte_intr_callback_fn, void *);

	*(void **)&next = dlsym(RTLD_NEXT, "rte_intr_callback_unregister");
	if (is_of_memif(cb))
		before_unregister();
	return next != NULL ? next(handle, cb, arg) : -ENOSYS;
}
#endif

/* A DPDK whose mbuf is laid out differently stops the build here, not a packet at run time. */
#define AT(field, offset) \
	_Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field " moved: ffi/src/mbuf.rs must follow")
AT(buf_addr, 0);
AT(buf_iova, 8);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(packet_type, 32);
AT(pkt_len, 36);
AT(data_len, 40);
AT(vlan_tci, 42);
AT(hash.fdir.lo, 44);
AT(hash.fdir.hi, 48);
AT(vlan_tci_outer, 52);
AT(buf_len, 54);
AT(pool, 56);
AT(next, 64);
AT(tx_offload, 72);
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf changed size: ffi/src/mbuf.rs must follow");

const uint16_t dmsc_mbuf_offsets[DMSC_MBUF_FIELDS] = {
	offsetof(struct rte_mbuf, buf_addr),
	offsetof(struct rte_mbuf, buf_iova),
	offsetof(struct rte_mbuf, data_off),
	offsetof(struct rte_mbuf, refcnt),
	offsetof(struct rte_mbuf, nb_segs),
	offsetof(struct rte_mbuf, port),
	offsetof(struct rte_mbuf, ol_flags),
	offsetof(struct rte_mbuf, packet_type),
	offsetof(struct rte_mbuf, pkt_len),
	offsetof(struct rte_mbuf, data_len),
	offsetof(struct rte_mbuf, vlan_tci),
	offsetof(struct rte_mbuf, hash.fdir.lo),
	offsetof(struct rte_mbuf, hash.fdir.hi),
	offsetof(struct rte_mbuf, vlan_tci_outer),
	offsetof(struct rte_mbuf, buf_len),
	offsetof(struct rte_mbuf, pool),
	offsetof(struct rte_mbuf, next),
	offsetof(struct rte_mbuf, tx_offload),
};
const uint16_t dmsc_mbuf_size = sizeof(struct rte_mbuf);
