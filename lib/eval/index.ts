/** Evaluation: protocols, the run over a data set, reports that merge and compare. */
export { diffReports, type ReportDiff } from './diff.js';
export type { EdgeCounts } from './edges.js';
export { type DatasetRequest, type EvalProgress, type EvaluateOptions, evaluate } from './evaluate.js';
export { mergeReports } from './merge.js';
export * from './metrics/index.js';
export { predictWith } from './predict.js';
export {
  checkProtocol,
  checkProtocolChanges,
  type Protocol,
  type ProtocolChanges,
  type ProtocolName,
  protocolHash,
  protocolNames,
} from './protocol.js';
export { type PublishedFigure, type PublishedRow, publishedRows } from './published/index.js';
export {
  type ReportFile,
  type ReportOptions,
  type ReportPicture,
  type ReportSection,
  renderReport,
  reportMarkdown,
  robustnessMarkdown,
  robustnessSection,
  writeReportFile,
} from './report/index.js';
export { readReport, writeReport } from './report-file.js';
export * from './report-types.js';
export { type ReproducedFigure, type ReproduceOptions, reproduce, type Verdict } from './reproduce.js';
export {
  type RobustnessCondition,
  type RobustnessOptions,
  type RobustnessReport,
  type RobustnessResult,
  type RobustnessTest,
  robustness,
} from './robustness.js';
export { labelRuleOf, type ProtocolRequest } from './setup.js';
