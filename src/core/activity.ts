/** Whether clients are being served, for work that yields to them. */
export class Activity {
  #underWay = 0;
  #served = 0;

  /** A request begins; it ends when what is returned is called. */
  begin(): () => void {
    this.#underWay += 1;
    return () => {
      this.#underWay -= 1;
      this.#served += 1;
    };
  }

  /** Requests that are under way, or were served since the last look. */
  look(): number {
    const seen = this.#underWay + this.#served;
    this.#served = 0;
    return seen;
  }
}
