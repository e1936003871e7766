# From what was measured to tables, figures and the report.


rule tables:
    input:
        settings=settings_of(
            "tables",
            layout.pairs_table,
            "methods",
            "models",
            "pretrained",
            "method_settings",
            "report",
            "seed",
            "measures",
        ),
        shards=[layout.evaluated_shard(method, shard) for method in METHODS for shard in PAIR_SHARDS],
        # A removed pair changes the tables. Besides, of rules that share a Slurm job the first must wait for the
        # checkpoint where a later one does: Snakemake 9.27 counts a later one twice, as planned before it and after.
        pairs=layout.pairs,
        published=as_it_is(settings.report.published),
    output:
        report(
            layout.methods_table,
            caption="../report/methods.rst",
            category="Comparison",
            labels={"what": "methods", "as": "table"},
        ),
        report(
            layout.pairs_table,
            caption="../report/pairs.rst",
            category="Comparison",
            labels={"what": "pairs", "as": "table"},
        ),
        layout.sets_table,
        layout.methods_markdown,
        layout.methods_latex,
    log:
        layout.log("tables"),
    benchmark:
        layout.benchmark("tables")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        settings=str(layout.settings("tables")),
        results=results_folder,
        shards=settings.shards.pairs,
    shell:
        "cohortreg tables {params.results:q} --settings {params.settings:q} --shards {params.shards:q}"
        " 2>&1 | tee {log:q}"


rule figures:
    input:
        settings=settings_of(
            "figures", layout.figure(next(iter(FIGURES))), "methods", "models", "structures", "measures"
        ),
        tables=rules.tables.output,
        histories=HISTORIES,
    output:
        [
            report(
                layout.figure(name),
                caption=f"../report/{name}.rst",
                category=figure.category,
                labels={"what": name, "as": "figure"},
            )
            for name, figure in FIGURES.items()
        ],
        [layout.figure(name, "svg") for name in FIGURES],
    log:
        layout.log("figures"),
    benchmark:
        layout.benchmark("figures")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        settings=str(layout.settings("figures")),
        results=results_folder,
    shell:
        "cohortreg figures {params.results:q} --settings {params.settings:q} 2>&1 | tee {log:q}"


rule report:
    input:
        settings=settings_of("report", layout.report.index, *CONFIGURED, left_out=list(MISSING.values())),
        figures=rules.figures.output,
        tables=rules.tables.output,
        summary=layout.cohort,
        excluded=layout.excluded,
    output:
        # Not the pages, which Snakemake would delete before the job, nor their folder, where people save ratings.
        touch(layout.reported),
    log:
        layout.log("report"),
    benchmark:
        layout.benchmark("report")
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        settings=str(layout.settings("report")),
        results=results_folder,
    shell:
        "cohortreg report {params.results:q} --settings {params.settings:q} 2>&1 | tee {log:q}"
