/** Pagination: pages after the first, loaded on demand. */
import { useEffect, useState } from "preact/hooks";
import { ApiError, read, type Problem } from "./api";

export interface Pages<Item> {
  items: Item[];
  next: string | null;
  problem: Problem | null;
  load: () => void;
}

interface Reading<Body, Item> {
  itemsOf: (body: Body) => Item[];
  nextOf: (body: Body) => string | null;
  /** The path of the page that a cursor leads to. */
  pathOf: (cursor: string) => string;
}

/** Return the items of `first` and of the pages loaded since. */
export function usePages<Body, Item>(first: Body, { itemsOf, nextOf, pathOf }: Reading<Body, Item>): Pages<Item> {
  const [more, setMore] = useState<{ items: Item[]; next: string | null; problem: Problem | null }>({ items: [], next: null, problem: null });
  // After a new first page the following pages may have shifted: they are loaded again on demand.
  useEffect(() => setMore({ items: [], next: null, problem: null }), [nextOf(first)]);
  const next = more.items.length ? more.next : nextOf(first);
  const load = (): void => {
    read<Body>(pathOf(next ?? "")).then(
      ({ body }) => body && setMore((before) => ({ items: [...before.items, ...itemsOf(body)], next: nextOf(body), problem: null })),
      (ex: unknown) => ex instanceof ApiError && setMore((before) => ({ ...before, problem: ex.problem })),
    );
  };
  return { items: [...itemsOf(first), ...more.items], next, problem: more.problem, load };
}
